// Runs the example as a person would: killed and resumed, stopped by Ctrl-C, from a URL.
import assert from "node:assert/strict";
import { join } from "node:path";
import { readSafetensorsForTest } from "../support/safetensors.ts";
import { type Json, loadCheckpoint, saveCheckpoint } from "../../src/io/checkpoint.ts";
import { writeNpy } from "../../src/io/npy.ts";
import { paddedVocabSize } from "../../src/cli/train/model.ts";
import { parseOptions } from "../../src/cli/train/options.ts";
import { warmupCosine } from "../../src/optim/schedule.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { assertSame } from "../support/compare.ts";
import { finish, inFolder } from "../support/examples.ts";
import { serveRepository } from "../support/serve.ts";

const root = new URL("../../", import.meta.url);
const example = new URL("examples/reproduce_gpt.ts", root).pathname;
/** A model so small that a step takes milliseconds; the vocabulary has to stay. */
const small = [
  ...["--layers", "1", "--embed", "16", "--heads", "2", "--context", "16", "--batch", "2"],
  ...["--total-batch", "64", "--warmup", "2", "--every", "10", "--val-tokens", "32"],
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
      // Drawn at milestones, not only at the end.
      assert.match(await Deno.readTextFile(join(folder, "killed/loss.svg")), /GPT-2, tiny/);
      const names = [...Deno.readDirSync(join(folder, "killed"))].map(({ name }) => name);
      const events = names.find((name) => name.includes("tfevents"))!;
      assert.match(await Deno.readTextFile(join(folder, "killed", events)), /weight_norm/);
      const attention = await Deno.readTextFile(join(folder, "killed/attention/step_00000010.svg"));
      assert.match(attention, /self-attention after step 10/);
      assert.match(killed.text, /^\[The whale\].*[^]*^saved /m);
      const resumed = await finish(start(folder, ["--resume", "killed", ...args]));
      assert.equal(resumed.code, 0, resumed.text);
      assert.match(resumed.text, /resuming after step 10 /);

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

Deno.test("reproduce_gpt --recipe modern: stopped, resumed and prolonged it is the run that was never stopped", () =>
  inFolder(async (folder) => {
    const plain = small.filter((_, i) => !["--dropout", "0.1"].includes(small[i]));
    const args = [
      ...["--recipe", "modern", "--device", "cpu", ...plain],
      ...["--cooldown", "3", "--batch-warmup", "4"],
    ];
    const straight = await finish(start(folder, ["--out", "straight", ...args, "--steps", "12"]));
    assert.equal(straight.code, 0, straight.text);
    assert.match(straight.text, /ModernGPT with 1,612,800 parameters in f32/);
    // The cool-down of a longer run would begin after the signal.
    const child = start(folder, ["--out", "runs/modern-a", ...args, "--steps", "1000"]);
    const stopped = await finish(child, once(/step +3\/1000 /, () => child.kill("SIGINT")));
    assert.equal(stopped.code, 130, stopped.text);
    const [, done] = /stopped after step (\d+) of 1000/.exec(stopped.text)!;
    assert.ok(Number(done) < 9, `it took ${done} steps to stop`);
    const resumed = await finish(start(folder, ["--resume", "--steps", "12"])); // the newest
    assert.equal(resumed.code, 0, resumed.text);
    const last = "step_00000012.safetensors";
    const a = await readSafetensorsForTest(join(folder, "straight", last));
    const b = await readSafetensorsForTest(join(folder, "runs/modern-a", last));
    assert.deepEqual([...b.keys()], [...a.keys()]);
    assert.ok(a.has("optimizer.momentum.h.0.mlp.c_fc.weight") && a.has("optimizer.m.wte.weight"));
    for (const [name, values] of a) assertSame(b.get(name), values, name);
    const cli = new URL("src/cli/cli.ts", root).pathname;
    const prompt = ["generate", "straight", "The whale", "--length", "3", "--device", "cpu"];
    const text = await finish(start(folder, prompt, ["-A", cli]));
    assert.equal(text.code, 0, text.text);
  }));

for (const [signal, exitCode] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  Deno.test(`reproduce_gpt finishes its step, saves and says how to go on at ${signal}`, () =>
    inFolder(async (folder) => {
      const args = ["--device", "cpu", "--steps", "100000", "--out", "run", ...small];
      const child = start(folder, args);
      const { code, text } = await finish(
        child,
        once(/step +3\/100000 /, () => child.kill(signal)),
      );
      assert.equal(code, exitCode, text);
      const [, step] = /stopped after step (\d+) of 100000; resume with --resume run/.exec(text) ??
        [];
      assert.ok(step, text);
      await Deno.stat(join(folder, "run", `step_${step.padStart(8, "0")}.safetensors`));
      await Deno.stat(join(folder, "run", "loss.svg"));
      if (signal !== "SIGINT") return;

      // It goes on with its own options, but for those that are given.
      const more = await finish(
        start(folder, ["--resume", "run", "--steps", String(Number(step) + 2)]),
      );
      assert.equal(more.code, 0, more.text);
      assert.match(more.text, /GPT-2 with 808,432 parameters in f32 on CPU, .* steps of 64 tokens/);
      assert.match(more.text, new RegExp(`resuming after step ${step} `));
    }));
}

Deno.test("reproduce_gpt validates after a resume what Ctrl-C has left out, also after the last step", () =>
  inFolder(async (folder) => {
    const args = [
      ...["--device", "cpu", ...small, "--warmup", "0", "--steps", "2", "--val-tokens", "4800"],
    ];
    const early = start(folder, [...args, "--out", "early"]);
    const none = await finish(
      early,
      once(/writing to early/, () => {
        setTimeout(() => early.kill("SIGINT"), 200); // it listens from then on, and validates
      }),
    );
    assert.equal(none.code, 130, none.text);
    assert.match(none.text, /stopped after step 0 of 2$/m);
    const child = start(folder, [...args, "--out", "run"]);
    const { code, text } = await finish(child, once(/step 2\/2 /, () => child.kill("SIGINT")));
    assert.equal(code, 130, text);
    assert.match(text, /stopped after step 2 of 2; resume with --resume run/);
    assert.doesNotMatch(text, /after 2 steps/);
    for (const isNew of [true, false]) {
      const resumed = await finish(start(folder, ["--resume", "run"]));
      assert.equal(resumed.code, 0, resumed.text);
      assert.equal(/validation loss \S+ after 2 steps/.test(resumed.text), isNew, resumed.text);
    }
  }));

Deno.test("reproduce_gpt answers Ctrl-C within a step of many micro-batches, and ends at the second", () =>
  inFolder(async (folder) => {
    // A step takes minutes.
    const long = [...small, "--total-batch", "3200000", "--out", "run", "--samples", "0"];
    const child = start(folder, ["--device", "cpu", ...long]);
    let sent = 0;
    const started = performance.now();
    const { code, text } = await finish(child, (text) => {
      if (sent === 0 && /validation loss/.test(text)) {
        sent = 1;
        setTimeout(() => child.kill("SIGINT"), 500);
      } else if (sent === 1 && /SIGINT: finishing this step and saving/.test(text)) {
        sent = 2;
        child.kill("SIGINT");
      }
    });
    assert.equal(code, 130, text);
    assert.equal(sent, 2, text);
    assert.ok(performance.now() - started < 60_000);
    assert.doesNotMatch(text, /step 1\//);
  }));

Deno.test("reproduce_gpt takes a step back whose data is gone, saves, and names the file", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(join(folder, "data"));
    for (
      const [name, count] of [["train_000000", 400], ["train_000001", 3000], ["val_000000", 99]]
    ) {
      await writeNpy(join(folder, "data", `a_${name}.npy`), new Uint16Array(Number(count)).fill(9));
    }
    const gone = join(folder, "data", "a_train_000001.npy");
    const args = [
      ...["--device", "cpu", "--data", "data", "--out", "run", "--steps", "40", ...small],
      ...["--val-tokens", "1000"],
    ];
    const child = start(folder, args);
    const { code, text } = await finish(
      child,
      once(/writing to run/, () => Deno.renameSync(gone, `${gone}.away`)),
    );
    assert.equal(code, 1, text);
    assert.match(text, /a_train_000001\.npy.*; all steps before it are saved in run\. Resume/);
    assert.match(text, /validation on 96$/m); // all whole rows that there are
    // 64 tokens a step: the seventh needs the second shard.
    assert.match(text, /step +6\/40 /);
    assert.doesNotMatch(text, /step +7\/40 /);
    await Deno.stat(join(folder, "run", "step_00000006.safetensors"));
    await Deno.rename(`${gone}.away`, gone);
    const resumed = await finish(start(folder, ["--resume", "run"]));
    assert.equal(resumed.code, 0, resumed.text);
    assert.match(resumed.text, /resuming after step 6 /);
    const straight = await finish(start(folder, [...args, "--out", "straight"]));
    const last = /step 40\/40 .* loss \S+/;
    assert.equal(last.exec(straight.text)?.[0], last.exec(resumed.text)?.[0]);
    const long = [...args, "--out", "long", "--context", "128", "--total-batch", "256"];
    assert.match(
      (await finish(start(folder, long))).text,
      /--data: expected more than 128 tokens for validation but got 99 in data/,
    );
  }));

Deno.test("reproduce_gpt names the file where its log's disk is full", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(join(folder, "run"));
    await Deno.symlink("/dev/full", join(folder, "run", "log.txt"));
    const { code, text } = await finish(
      start(folder, ["--device", "cpu", "--out", "run", "--steps", "4", ...small]),
    );
    assert.equal(code, 1, text);
    assert.match(text, /error: run\/log\.txt: could not be written, .*No space left on device/);
  }));

/** A file system of its own, which only root may have. */
const mounted = (folder: string, ...args: string[]) =>
  new Deno.Command("mount", { args: ["-t", "tmpfs", ...args, "tmpfs", folder] }).output()
    .then(({ success }) => success, () => false);

Deno.test("reproduce_gpt keeps its checkpoints where the disk gets full", () =>
  inFolder(async (folder) => {
    const disk = join(folder, "disk");
    await Deno.mkdir(disk);
    const isFull = await mounted(disk, "-o", "size=64m");
    try {
      const args = ["--device", "cpu", "--out", "disk/run", "--steps", "100000", ...small];
      const child = start(folder, args);
      const fill = () => {
        const file = Deno.openSync(join(disk, "filler"), { write: true, create: true });
        try {
          for (const piece of [2 ** 20, 1]) while (true) file.writeSync(new Uint8Array(piece));
        } catch {
          // full
        } finally {
          file.close();
        }
      };
      // Without such a disk, a folder in the place of the next checkpoint stands for it.
      const { code, text } = await finish(
        child,
        once(
          /saved .*step_00000005/,
          () => isFull ? fill() : Deno.mkdirSync(join(disk, "run/step_00000010.safetensors")),
        ),
      );
      assert.equal(code, 1, text);
      assert.match(
        text,
        isFull
          ? /error: disk\/run\/\S+: could not be written, .*No space left on device.*; step 5 is saved in disk\/run/
          : /error: disk\/run\/step_00000010\.safetensors: could not be written.*; step 5 is saved in disk\/run/,
      );
      const checkpoint = await loadCheckpoint(join(disk, "run", "step_00000005.safetensors"));
      assert.equal(checkpoint.step, 5);
    } finally {
      if (isFull) await new Deno.Command("umount", { args: [disk] }).output();
    }
  }));

Deno.test("reproduce_gpt --resume refuses another shape and order, passes over strays, names a bad checkpoint", () =>
  inFolder(async (folder) => {
    const first = await finish(
      start(folder, ["--device", "cpu", ...small, "--steps", "2", "--warmup", "1"]),
    );
    assert.equal(first.code, 0, first.text);
    const [, run] = /writing to (runs\/gpt2-tiny-\S+)/.exec(first.text)!;
    // Newer than the run.
    await Deno.writeTextFile(join(folder, "runs", "gpt2-notes.txt"), "");
    await Deno.symlink("nowhere", join(folder, "runs", "gpt2-link"));
    for (
      const [args, message] of [
        [["--heads", "1"], /--resume: expected --heads 2, as the run has it, but got --heads 1/],
        [["--layers", "2"], /expected --layers 1, .* but got --layers 2/],
        [["--preset", "small"], /expected --layers 1, .* but got --layers 6/],
        [["--context", "8"], /expected --context 16, .* but got --context 8/],
        [["--dtype", "f16"], /expected --dtype f32, .* but got --dtype f16/],
        [["--shuffle"], /expected no --shuffle, .* but got --shuffle/],
        [["--optimizer", "adamw"], /expected --optimizer muon, .* but got --optimizer adamw/],
        [["--recipe", "modern"], /expected --recipe gpt2, .* but got --recipe modern/],
      ] as const
    ) {
      const { code, text } = await finish(start(folder, ["--resume", ...args]));
      assert.equal(code, 2, text);
      assert.match(text, message);
    }
    const path = join(folder, run, "step_00000002.safetensors");
    const { step, state, tensors } = await loadCheckpoint(path);
    const entries = Array.from(tensors, ([name, tensor]) => ({ name, ...tensor }));
    for (const extra of [null, 5, { options: {} }]) {
      const damaged = { ...state as Record<string, Json>, extra };
      await saveCheckpoint(join(folder, run), step, { state: damaged, tensors: entries });
      const { code, text } = await finish(start(folder, ["--resume", run]));
      assert.equal(code, 1, text);
      assert.match(
        text,
        /error: .*step_00000002\.safetensors: expected "options" and "curves" in the "extra"/,
      );
    }
  }));

Deno.test("reproduce_gpt refuses a folder in which another process trains", () =>
  inFolder(async (folder) => {
    const args = ["--device", "cpu", "--steps", "100000", "--out", "run", ...small];
    const child = start(folder, args);
    let second: ReturnType<typeof finish> | undefined;
    const first = await finish(
      child,
      once(/step +1\/100000 /, () => {
        second = finish(start(folder, args));
        second.then(() => child.kill("SIGINT"));
      }),
    );
    assert.equal(first.code, 130, first.text);
    const { code, text } = await second!;
    assert.equal(code, 1, text);
    assert.match(
      text,
      new RegExp(`expected a folder that no run uses but got run, of process ${child.pid};`),
    );
  }));

/** Calls `body` when the text of a process first matches. */
function once(pattern: RegExp, body: () => void): (text: string) => void {
  let done = false;
  return (text) => {
    if (done || !pattern.test(text)) return;
    done = true;
    body();
  };
}

Deno.test("reproduce_gpt refuses what cannot be", () =>
  inFolder(async (folder) => {
    for (
      const [args, message] of [
        [["--heads", "5"], /--heads: expected a divisor of --embed 64 but got 5/],
        [["--total-batch", "1000"], /expected a multiple of 8 x 128 tokens but got 1000/],
        [
          ["--lr", "1e-4", "--min-lr", "1e-3"],
          /--min-lr: expected at most --lr 0.0001 but got 0.001/,
        ],
        [["--preset", "huge"], /Expected one of tiny, small, 124m/],
        [
          ["--preset", "124m"],
          /--preset 124m: expected --data but got none: `deno task prepare:fineweb`/,
        ],
        [["--data", "nowhere"], /nowhere: expected a text or a folder of token shards/],
        [["--resume", "a", "--out", "b"], /--resume a: expected no --out, as .* but got b/],
        [["--resume"], /--resume: expected a run in runs\/ but got none/],
      ] as const
    ) {
      const { code, text } = await finish(start(folder, [...args, "--device", "cpu"]));
      assert.notEqual(code, 0);
      assert.match(text, message);
    }
  }));

Deno.test("reproduce_gpt trains on a text, held out in part, and asks for one that is long enough", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(
      join(folder, "book.txt"),
      "The sea is wide and the whale dives. ".repeat(60),
    );
    const args = [
      "--data",
      "book.txt",
      "--out",
      "run",
      "--steps",
      "3",
      "--device",
      "cpu",
      ...small,
    ];
    const trained = await finish(start(folder, [...args, "--val-tokens", "999"]));
    assert.equal(trained.code, 0, trained.text);
    assert.match(
      trained.text,
      /^book\.txt, 1 shard in memory, 487 tokens .* last 54 for validation$/m,
    );
    assert.match(trained.text, /3 steps of 64 tokens, validation on 48/);
    const short = await finish(start(folder, [...args, "--context", "64", "--total-batch", "128"]));
    assert.equal(short.code, 2, short.text);
    assert.match(
      short.text,
      /--data: expected a text of more than 640 tokens.* but got 541 in book/,
    );
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

Deno.test("reproduce_gpt's preset 124m is the reference's run", () => {
  const options = parseOptions(["--preset", "124m", "--data", "shards"]);
  const { layers, heads, embed, context, steps, totalBatch } = options;
  assert.deepEqual([layers, heads, embed, context], [12, 12, 768, 1024]);
  assert.equal(paddedVocabSize(new GPT2Tokenizer().vocabSize), 50304);
  assert.deepEqual([steps, totalBatch, options.warmup], [19073, 524288, 715]);
  assert.deepEqual([options.weightDecay, options.clip, options.valTokens], [0.1, 1, 524_288]);
  assert.equal(options.batch, undefined);
  const schedule = warmupCosine({
    maxLr: options.lr,
    minLr: options.minLr,
    warmupSteps: options.warmup,
    totalSteps: steps,
  });
  assert.equal(schedule(1).toExponential(5), "8.39161e-7");
  assert.equal(schedule(steps).toExponential(5), "6.00000e-5");
});

Deno.test("reproduce_gpt's recipes are their own, and options go before them", () => {
  const data = ["--data", "shards"];
  const options = parseOptions(["--preset", "124m", "--recipe", "modern", "--lr", "0.01", ...data]);
  assert.deepEqual([options.optimizer, options.schedule, options.lr], ["muon", "wsd", 0.01]);
  assert.deepEqual([options.layers, options.steps, options.cooldown], [12, 19073, 11443]);
  const reference = parseOptions(["--preset", "124m", ...data]);
  assert.deepEqual([reference.optimizer, reference.schedule], ["adamw", "cosine"]);
});

Deno.test("reproduce_gpt stops at a spike, saved, or leaves its step out", () =>
  inFolder(async (folder) => {
    // A model that hardly learns: half of its losses are above their mean.
    const args = ["--device", "cpu", "--steps", "60", "--lr", "1e-9", "--min-lr", "0", ...small];
    const tight = [...args, "--spike", "0.001"];
    const stopped = await finish(start(folder, [...tight, "--on-spike", "stop", "--out", "run"]));
    assert.notEqual(stopped.code, 0);
    const [, failed] =
      /step (\d+): the loss .* standard deviations above .*; all steps before it are saved in run\. /
        .exec(stopped.text) ?? [];
    assert.ok(Number(failed) > 20, stopped.text);
    const before = `step_${String(Number(failed) - 1).padStart(8, "0")}.safetensors`;
    await Deno.stat(join(folder, "run", before));

    const skipped = await finish(
      start(folder, [...tight, "--resume", "run", "--on-spike", "skip"]),
    );
    assert.match(skipped.text, new RegExp(`resuming after step ${Number(failed) - 1} `));
    assert.match(skipped.text, new RegExp(`step ${failed}/60 .*: step skipped`));
  }));

Deno.test("reproduce_gpt does not save weights that are no numbers", () =>
  inFolder(async (folder) => {
    const args = ["--device", "cpu", "--steps", "4", "--lr", "1e36", "--out", "run", ...small];
    const { code, text } = await finish(start(folder, args));
    assert.notEqual(code, 0);
    assert.match(text, /validation loss NaN after 1 steps/);
    assert.match(text, /the weights are lost after step 1: lower --lr/);
    const files = [...Deno.readDirSync(join(folder, "run"))].map(({ name }) => name);
    assert.ok(!files.some((name) => name.endsWith(".safetensors")), files.join());
  }));

Deno.test("reproduce_gpt shuffles, recomputes and scores HellaSwag, over a restart", () =>
  inFolder(async (folder) => {
    const item = { ctx: "The whale", endings: ["dives.", "is a hat.", "reads", "of of"], label: 0 };
    const items = Array(3).fill(JSON.stringify(item)).join("\n");
    await Deno.writeTextFile(join(folder, "items.jsonl"), items);
    const args = [
      ...["--device", "cpu", "--shuffle", "--recompute", "--spike", "6", ...small],
      ...["--hellaswag", "items.jsonl", "--hellaswag-every", "2"],
    ];
    const straight = await finish(start(folder, [...args, "--steps", "4", "--out", "straight"]));
    assert.equal(straight.code, 0, straight.text);
    assert.equal(
      straight.text.match(/HellaSwag accuracy [03]\/3 = [01]\.0000 after [24] steps/g)?.length,
      2,
    );
    const plain = await finish(
      start(folder, [...args.filter((arg) => arg !== "--recompute"), "--steps", "4", "--out", "b"]),
    );
    const losses = (text: string) => text.match(/grad_norm \S+ \| loss \S+/g);
    assert.equal(losses(straight.text)?.length, 4);
    assert.deepEqual(losses(plain.text), losses(straight.text), "--recompute changes nothing");
    const ordered = await finish(
      start(folder, [...args.filter((arg) => arg !== "--shuffle"), "--steps", "4", "--out", "c"]),
    );
    assert.deepEqual(losses(ordered.text), losses(straight.text), "Moby Dick is one document");
    const resumed = await finish(
      start(folder, ["--resume", "c", ...args, "--steps", "5"]),
    );
    assert.match(resumed.text, /expected no --shuffle, as the run has it, but got --shuffle/);
  }));
