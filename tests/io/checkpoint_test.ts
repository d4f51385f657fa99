import assert from "node:assert/strict";
import { join } from "node:path";
import type { WritableFile } from "../../src/io/atomic_file.ts";
import {
  type CheckpointContent,
  checkpointPath,
  listCheckpoints,
  loadCheckpoint,
  loadNewestCheckpoint,
  saveCheckpoint,
} from "../../src/io/checkpoint.ts";
import { FileFormatError, FileWriteError } from "../../src/io/errors.ts";
import { SafetensorsFile, writeSafetensors } from "../../src/io/safetensors.ts";
import { assertSame } from "../support/compare.ts";

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function content(step: number): CheckpointContent {
  const weights = Float32Array.from({ length: 300 }, (_, i) => step + i / 7);
  return {
    state: { step, loader: { position: step * 512 }, random: ["7", "9"], text: '"sha256":"0' },
    tensors: [
      { name: "model.wte.weight", dtype: "F32", shape: [30, 10], data: weights },
      { name: "optimizer.step", dtype: "U32", shape: [], data: () => Uint32Array.of(step) },
    ],
  };
}

const names = (folder: string) => [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
const steps = async (folder: string) => (await listCheckpoints(folder)).map((file) => file.step);

Deno.test("loadNewestCheckpoint() returns what saveCheckpoint() saved when all is well", async () => {
  await withFolder(async (base) => {
    const folder = join(base, "made", "on the way");
    assert.equal(await loadNewestCheckpoint(folder), undefined);
    const path = await saveCheckpoint(folder, 10, content(10));
    assert.equal(path, join(folder, "step_00000010.safetensors"));
    const loaded = await loadNewestCheckpoint(folder);
    assert(loaded);
    assert.deepEqual([loaded.path, loaded.step], [path, 10]);
    assert.deepEqual(loaded.state, content(10).state);
    assert.deepEqual([...loaded.tensors.keys()], ["model.wte.weight", "optimizer.step"]);
    const { dtype, shape, data } = loaded.tensors.get("model.wte.weight")!;
    assert.deepEqual([dtype, shape], ["F32", [30, 10]]);
    assertSame(data, [...content(10).tensors][0].data);
    assert.deepEqual(loaded.tensors.get("optimizer.step")?.data, Uint32Array.of(10));
    using file = await SafetensorsFile.open(path);
    assert.equal(file.metadata.step, "10");
  });
});

Deno.test("saveCheckpoint() keeps the newest when there are more than keep", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(join(folder, "log.txt"), "mine");
    for (const step of [1, 2, 5, 10]) {
      await saveCheckpoint(folder, step, content(step), { keep: 2 });
    }
    assert.deepEqual(await steps(folder), [5, 10]);
    // A later one, left by a run that went wrong, does not push out what is saved now.
    await saveCheckpoint(folder, 7, content(7), { keep: 1 });
    assert.deepEqual(await steps(folder), [7, 10]);
    assert(names(folder).includes("log.txt"));
    await assert.rejects(saveCheckpoint(folder, 8, content(8), { keep: 0 }), RangeError);
    await assert.rejects(saveCheckpoint(folder, 1.5, content(8)), RangeError);
  });
});

Deno.test("loadNewestCheckpoint() uses the one before when the newest is cut short", async () => {
  await withFolder(async (folder) => {
    await saveCheckpoint(folder, 1, content(1));
    const path = await saveCheckpoint(folder, 2, content(2));
    const whole = await Deno.readFile(path);
    for (const length of [0, 7, 8, 100, 700, whole.length - 1]) {
      await Deno.writeFile(path, whole.subarray(0, length));
      const refused: FileFormatError[] = [];
      const loaded = await loadNewestCheckpoint(folder, { onRefused: (e) => refused.push(e) });
      assert.equal(loaded?.step, 1);
      assert.equal(refused.length, 1);
      assert.match(refused[0].message, /step_00000002.*(cut short|8 bytes or more)/);
    }
  });
});

Deno.test("loadCheckpoint() throws when any one bit of the file is wrong", async () => {
  await withFolder(async (folder) => {
    const path = await saveCheckpoint(folder, 3, content(3));
    const whole = await Deno.readFile(path);
    await loadCheckpoint(path);
    for (let at = 0; at < whole.length; at += 13) {
      await Deno.writeFile(path, whole.with(at, whole[at] ^ (1 << (at % 8))));
      await assert.rejects(loadCheckpoint(path), FileFormatError, `bit of byte ${at}`);
    }
    await Deno.writeFile(path, whole.with(whole.length - 5, whole[whole.length - 5] ^ 1));
    await assert.rejects(loadCheckpoint(path), /corrupted: expected SHA-256/);
  });
});

Deno.test("loadNewestCheckpoint() throws when no file is a checkpoint", async () => {
  await withFolder(async (folder) => {
    const foreign = checkpointPath(folder, 4);
    await writeSafetensors(foreign, [
      { name: "a", dtype: "U8", shape: [1], data: Uint8Array.of(1) },
    ]);
    await assert.rejects(loadCheckpoint(foreign), /expected a checkpoint of dinograd/);
    await Deno.writeTextFile(checkpointPath(folder, 5), "hello, I am a text file");
    await assert.rejects(loadNewestCheckpoint(folder), (error: FileFormatError) => {
      assert.match(error.message, /expected a whole checkpoint but got 2 damaged/);
      assert.match(String(error.cause), /expected a checkpoint of dinograd/);
      return true;
    });
  });
});

Deno.test("loadCheckpoint() throws when the file is of a later version", async () => {
  await withFolder(async (folder) => {
    const path = checkpointPath(folder, 1);
    await writeSafetensors(path, [], { format: "dinograd checkpoint", format_version: "2" });
    await assert.rejects(loadCheckpoint(path), /expected checkpoint version 1 but got 2/);
  });
});

/** A disk with room for `room` bytes. */
function smallDisk(room: number): (path: string) => Promise<WritableFile> {
  return async (path) => {
    const file = await Deno.open(path, { write: true, createNew: true });
    return {
      write: async (bytes) => {
        if (room === 0) throw new Error("No space left on device (os error 28)");
        const count = await file.write(bytes.subarray(0, room));
        room -= count;
        return count;
      },
      seek: (offset, whence) => file.seek(offset, whence),
      sync: () => file.sync(),
      close: () => file.close(),
    };
  };
}

Deno.test("saveCheckpoint() leaves all as it was when the disk is full", async () => {
  await withFolder(async (folder) => {
    await saveCheckpoint(folder, 1, content(1), { keep: 1 });
    const size = (await Deno.stat(checkpointPath(folder, 1))).size;
    for (const room of [0, 5, 500, size - 1]) {
      const saving = saveCheckpoint(folder, 2, content(2), { keep: 1, open: smallDisk(room) });
      await assert.rejects(saving, (error: FileWriteError) => {
        assert(error instanceof FileWriteError);
        assert.deepEqual([error.bytesWritten, error.bytesWanted], [room, size]);
        assert.match(error.message, /step_00000002.*of \d+ bytes: No space left on device/);
        return true;
      });
      assert.deepEqual(names(folder), ["step_00000001.safetensors"]);
    }
    assert.equal((await loadNewestCheckpoint(folder))?.step, 1);
    await saveCheckpoint(folder, 2, content(2), { keep: 1, open: smallDisk(size + 64) });
    assert.deepEqual(names(folder), ["step_00000002.safetensors"]);
  });
});

Deno.test("saveCheckpoint() leaves nothing behind when its data cannot be had", async () => {
  await withFolder(async (folder) => {
    const lost = () => Promise.reject(new Error("device lost"));
    const tensors = [{ name: "a", dtype: "F32", shape: [2], data: lost } as const];
    await assert.rejects(saveCheckpoint(folder, 1, { state: {}, tensors }), /^Error: device lost$/);
    assert.deepEqual(names(folder), []);
  });
});

Deno.test("saveCheckpoint() throws when the state is nothing that JSON can keep", async () => {
  await withFolder(async (folder) => {
    const save = (state: unknown) =>
      saveCheckpoint(folder, 1, { state: state as null, tensors: [] });
    await assert.rejects(
      save({ best: Infinity }),
      /expected JSON as state "best" but got Infinity/,
    );
    await assert.rejects(save({ a: [NaN] }), /expected JSON as state "0" but got NaN/);
    await assert.rejects(save(undefined), /but got undefined/);
    await assert.rejects(save({ seed: 1n }), TypeError);
    assert.deepEqual(names(folder), []);
  });
});

Deno.test("saveCheckpoint() leaves whole checkpoints when its process is killed", async () => {
  const module = new URL("../../src/io/checkpoint.ts", import.meta.url).href;
  const program = `
    import { saveCheckpoint } from "${module}";
    const [folder, first] = Deno.args;
    for (let step = Number(first); ; step++) {
      const data = new Float32Array(1 << 18).fill(step);
      const tensors = Array.from({ length: 8 }, (_, i) => ({
        name: "w" + i, dtype: "F32", shape: [data.length], data,
      }));
      await saveCheckpoint(folder, step, { state: { step }, tensors }, { keep: 2 });
      console.log(step);
    }`;
  await withFolder(async (base) => {
    const folder = join(base, "checkpoints");
    const script = join(base, "save.ts");
    await Deno.writeTextFile(script, program);
    let first = 1;
    for (const delay of [0, 7, 19]) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "--no-check", "--no-config", "-RW", script, folder, `${first}`],
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const output = child.stdout.getReader();
      await output.read(); // at least one is saved; the next is being written
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill("SIGKILL");
      await child.status;
      let saved = first;
      for (let part = await output.read(); !part.done; part = await output.read()) {
        saved = Number(new TextDecoder().decode(part.value).trim().split("\n").at(-1));
      }
      const refused: Error[] = [];
      const loaded = await loadNewestCheckpoint(folder, { onRefused: (e) => refused.push(e) });
      assert.deepEqual(refused, []);
      assert(loaded && loaded.step >= saved);
      for (const { data } of loaded.tensors.values()) {
        assert((data as Float32Array).every((value) => value === loaded.step));
      }
      first = loaded.step + 1;
    }
    await Deno.writeFile(
      join(folder, ".step_00000099.safetensors.dinograd-0123456789abcdef.tmp"),
      new Uint8Array(9),
    );
    await saveCheckpoint(folder, first, content(first), { keep: 2 });
    assert.deepEqual(names(folder).filter((name) => name.endsWith(".tmp")), []);
  });
});
