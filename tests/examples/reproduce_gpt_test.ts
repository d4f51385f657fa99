// Runs the example as a person would: killed and resumed, stopped by Ctrl-C, from a URL.
import assert from "node:assert/strict";
import { join } from "node:path";
import { readSafetensorsForTest } from "../support/safetensors.ts";
import { serveRepository } from "../support/serve.ts";

const root = new URL("../../", import.meta.url);
const example = new URL("examples/reproduce_gpt.ts", root).pathname;
/** A model so small that a step takes milliseconds; the vocabulary has to stay. */
const small = [
  ...["--layers", "1", "--embed", "16", "--heads", "2", "--context", "16", "--batch", "2"],
  ...["--total-batch", "64", "--warmup", "2", "--every", "10", "--val-batches", "1"],
  ...["--samples", "1", "--sample-length", "3", "--dropout", "0.1"],
];

function start(cwd: string, args: string[], deno = ["-A", example]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...deno, ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Everything that a process prints, and its exit code; `onText` sees it while it grows. */
async function finish(
  child: Deno.ChildProcess,
  onText: (text: string) => void = () => {},
): Promise<{ code: number; text: string }> {
  let text = "";
  const collect = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) onText(text += part);
  };
  const [{ code }] = await Promise.all([
    child.status,
    collect(child.stdout),
    collect(child.stderr),
  ]);
  return { code, text };
}

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const device of ["cpu", "webgpu"]) {
  Deno.test(`reproduce_gpt on ${device}: 20 steps straight equal 10, kill -9, and 10 more`, () =>
    inFolder(async (folder) => {
      const args = ["--device", device, "--steps", "20", ...small];
      const straight = await finish(start(folder, ["--out", "straight", ...args]));
      assert.equal(straight.code, 0, straight.text);

      const child = start(folder, ["--out", "killed", ...args]);
      const killed = await finish(child, (text) => {
        if (/step 1[2-6]\/20 /.test(text)) {
          try {
            child.kill("SIGKILL");
          } catch (error) {
            if (!(error instanceof TypeError)) throw error; // it is dead already
          }
        }
      });
      assert.notEqual(killed.code, 0, "the run was not killed");
      const resumed = await finish(start(folder, ["--resume", "killed", ...args]));
      assert.equal(resumed.code, 0, resumed.text);
      assert.match(resumed.text, /going on after step 10 /);

      const last = "step_00000020.safetensors";
      const a = await readSafetensorsForTest(join(folder, "straight", last));
      const b = await readSafetensorsForTest(join(folder, "killed", last));
      assert.deepEqual([...a.keys()], [...b.keys()]);
      let worst = 0;
      for (const [name, values] of a) {
        const other = b.get(name)!;
        values.forEach((value, i) => worst = Math.max(worst, Math.abs(value - other[i])));
      }
      // The CPU device repeats bit by bit.
      assert.ok(device === "cpu" ? worst === 0 : worst <= 1e-6, `they differ by ${worst}`);
    }));
}

Deno.test("reproduce_gpt finishes its step, saves and says how to go on at Ctrl-C", () =>
  inFolder(async (folder) => {
    const child = start(folder, ["--device", "cpu", "--steps", "100000", "--out", "run", ...small]);
    let sent = false;
    const { code, text } = await finish(child, (text) => {
      if (!sent && /step +3\/100000 /.test(text)) {
        sent = true;
        child.kill("SIGINT");
      }
    });
    assert.equal(code, 0, text);
    const [, step] = /stopped after step (\d+) of 100000; go on with --resume run/.exec(text) ?? [];
    assert.ok(step, text);
    await Deno.stat(join(folder, "run", `step_${step.padStart(8, "0")}.safetensors`));
    await Deno.stat(join(folder, "run", "loss.svg"));
  }));

Deno.test("reproduce_gpt refuses what cannot be", () =>
  inFolder(async (folder) => {
    for (
      const [args, message] of [
        [["--heads", "5"], /--heads 5 does not divide --embed 64/],
        [["--total-batch", "1000"], /1000 is no multiple of 8 x 128/],
        [["--preset", "huge"], /It is one of tiny, small, 124m/],
        [["--data", "nowhere"], /nowhere: there is no such folder of token shards/],
        [["--resume"], /There is no run to resume in runs\//],
      ] as const
    ) {
      const { code, text } = await finish(start(folder, [...args, "--device", "cpu"]));
      assert.notEqual(code, 0);
      assert.match(text, message);
    }
  }));

Deno.test("reproduce_gpt runs from a URL with the permissions that its header names", () =>
  inFolder(async (folder) => {
    const header = await Deno.readTextFile(example);
    const [, flags] = /deno run (--allow[^\n]*) examples\/reproduce_gpt\.ts/.exec(header)!;
    await using server = serveRepository(root);
    const deno = [...flags.split(" "), `--allow-import=${server.host}`];
    const url = `http://${server.host}/examples/reproduce_gpt.ts`;
    const args = ["--device", "cpu", "--steps", "3", ...small];
    const { code, text } = await finish(start(folder, args, [...deno, url]));
    assert.equal(code, 0, text);
    assert.match(text, /validation loss 10\.8\d+ after 0 steps/);
    assert.match(text, /step 3\/3 .* loss 10\.\d+/);
  }));
