// The numbers of a run's log lines and curves, and the options of its command line.
import assert from "node:assert/strict";
import { join } from "node:path";
import { number, positive, share } from "../../src/cli/arguments.ts";
import { parseOptions as generateOptions } from "../../src/cli/generate_options.ts";
import { parseOptions } from "../../src/cli/train/options.ts";
import { Report } from "../../src/cli/train/report.ts";
import { isMilestone } from "../../src/cli/train/checks.ts";
import { inFolder } from "../support/examples.ts";

/** Runs `body` with nothing written to the console. */
async function silently(body: () => Promise<void>): Promise<void> {
  const { log } = console;
  console.log = () => {};
  try {
    await body();
  } finally {
    console.log = log;
  }
}

const options = { ...parseOptions([]), steps: 200, totalBatch: 1024 };
const times = { seconds: 0.5, left: 90 };
/** What is told of a step of 1,024 tokens. */
const plan = { lr: 6e-4, sequences: 8 };

Deno.test("Report writes a step with its share, rates and times, and what was left out", () =>
  silently(() =>
    inFolder(async (folder) => {
      const curves = { train: [] as [number, number][], validation: [] as [number, number][] };
      {
        using report = await Report.open(folder, "A run", 0, curves);
        const apply = { action: "apply" } as const;
        const seventh = { step: 7, plan, loss: 3.14159, gradNorm: 0.5, verdict: apply };
        report.step(options, seventh, times);
        const skip = { action: "skip", warning: "the loss is NaN" } as const;
        const slow = { ...plan, lr: 1.5e-10 };
        const eighth = { step: 8, plan: slow, loss: NaN, gradNorm: 2, verdict: skip };
        report.step(options, eighth, { seconds: 2, left: 3700 });
        const last = { step: 200, plan, loss: 3, gradNorm: Infinity, verdict: apply };
        report.step(options, last, times);
        report.hellaSwag(200, { items: 8, acc: 0.25, accNorm: 0.375 });
        report.validation(200, 2.5);
        report.sample(200, " once\n\nmore\x1b[2J\n", "The whale");
        const weights = Float32Array.of(1, 0, 0.5, 0.5);
        const layer = { name: "h.0.attn", heads: 1, queries: 2, keys: 2, weights };
        const path = await report.attention(200, [layer]);
        assert.equal(path, `${folder}/attention/step_00000200.svg`);
        assert.match(await Deno.readTextFile(path), /A run: self-attention after step 200/);
        await report.draw();
      }
      assert.deepEqual((await Deno.readTextFile(join(folder, "log.txt"))).trimEnd().split("\n"), [
        "step   7/200 | lr 6.00000e-04 | grad_norm 0.5000 | loss 3.141590 | 2,048 tokens/s | 500 ms | 1 m 30 s left",
        "step   8/200 | lr 1.50000e-10 | grad_norm 2.0000 | loss NaN | 512 tokens/s | 2.0 s | 1 h 02 m left" +
        " | the loss is NaN: step skipped",
        "step 200/200 | lr 6.00000e-04 | grad_norm Infinity | loss 3.000000 | 2,048 tokens/s | 500 ms | 1 m 30 s left" +
        " | gradient overflow: step skipped",
        "HellaSwag accuracy 3/8 = 0.3750 after 200 steps",
        "validation loss 2.5000 after 200 steps",
        "[The whale] once",
        "",
        "more\\x1b[2J",
      ]);
      assert.deepEqual(curves, { train: [[7, 3.14159], [200, 3]], validation: [[200, 2.5]] });
      assert.doesNotMatch(await Deno.readTextFile(join(folder, "loss.svg")), /NaN/);
    })
  ));

Deno.test("parseOptions() of train fits steps, warm-up and batches to each other", () => {
  const tiny = parseOptions([]);
  assert.equal(tiny.warmup, Math.min(10, Math.floor(tiny.steps / 10)));
  assert.equal(parseOptions(["--steps", "59"]).warmup, 5);
  assert.equal(parseOptions(["--steps", "9"]).warmup, 0);
  assert.equal(parseOptions(["--steps", "59", "--warmup", "58"]).warmup, 58);
  assert.equal(tiny.cooldown, Math.floor(0.6 * tiny.steps));
  assert.equal(parseOptions(["--steps", "59", "--warmup", "58"]).cooldown, 1);
  const { context } = tiny;
  const batched = (batch: number) => parseOptions(["--batch", String(batch)]).totalBatch;
  // The multiple of a micro-batch that is nearest to what the preset says.
  for (const batch of [1, 3, 5, 6, 7, 100]) {
    const micro = batch * context;
    assert.equal(batched(batch), Math.max(1, Math.round(tiny.totalBatch / micro)) * micro);
  }
  assert.equal(parseOptions(["--tokenizer", "gpt2"]).tokenizer, parseOptions([]).tokenizer);
  const begun = { ...tiny, lr: 0.25, steps: 50 };
  const resumed = parseOptions(["--resume", "run", "--steps", "70"], begun);
  assert.deepEqual([resumed.lr, resumed.steps, resumed.cooldown], [0.25, 70, 42]);
  // A resumed run has the schedule that it began with.
  const own = parseOptions(["--steps", "59", "--warmup", "20", "--cooldown", "39"]);
  const goesOn = parseOptions(["--resume", "run"], own);
  assert.deepEqual([goesOn.warmup, goesOn.cooldown], [20, 39]);
});

Deno.test("isMilestone() is true at the first steps, every N and the last", () => {
  const found = Array.from({ length: 260 }, (_, i) => i + 1)
    .filter((step) => isMilestone(step, { steps: 257, every: 60 }));
  assert.deepEqual(found, [1, 2, 5, 10, 50, 60, 100, 120, 180, 240, 257]);
});

Deno.test("parseOptions() of generate has the defaults that its help names", () => {
  const { seed, ...rest } = generateOptions(["model"]);
  assert.ok(Number.isInteger(seed) && seed >= 0);
  assert.deepEqual(rest, {
    ...{ folder: "model", prompt: undefined, device: "auto", samples: 1, overflow: "slide" },
    ...{ temperature: 1, topP: 1, minP: 0, repetitionPenalty: 1, stop: [], adapter: [] },
  });
  const given = generateOptions([
    ...["model", "--prompt", "a b", "--stop", "x", "--stop", "y", "--top-p", "1", "--min-p", "0"],
    ...["--temperature", "0", "--overflow", "error", "--length", "7", "--seed", "0"],
  ]);
  const { prompt, stop, topP, minP, temperature, overflow, length } = given;
  assert.deepEqual({ prompt, stop, topP, minP, temperature, overflow, length }, {
    ...{ prompt: "a b", stop: ["x", "y"], topP: 1, minP: 0, temperature: 0 },
    ...{ overflow: "error", length: 7 },
  });
  assert.equal(given.seed, 0);
  assert.equal(generateOptions(["model", "two", "words"]).prompt, "two words");
});

Deno.test("numbers of the command line are taken at their bounds and refused beyond", () => {
  assert.deepEqual(["0", "1", "0.5"].map(share), [0, 1, 0.5]);
  assert.deepEqual(["0", "1e3"].map(number), [0, 1000]);
  assert.equal(positive("1"), 1);
  for (const text of ["1.01", "-0.1", ""]) assert.throws(() => share(text));
  for (const text of ["-1", "x", " ", "Infinity"]) assert.throws(() => number(text));
  for (const text of ["0", "1.5", "-3"]) assert.throws(() => positive(text));
});
