// Runs the example as a person would: killed and resumed, stopped by Ctrl-C, from a URL.
import assert from "node:assert/strict";
import { join } from "node:path";
import { readSafetensorsForTest } from "../support/safetensors.ts";
import { parseOptions } from "../../examples/reproduce_gpt/options.ts";
import { warmupCosine } from "../../src/optim/schedule.ts";
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

    // It goes on with its own options, but for those that are given.
    const more = await finish(
      start(folder, ["--resume", "run", "--steps", String(Number(step) + 2)]),
    );
    assert.equal(more.code, 0, more.text);
    assert.match(more.text, /GPT-2 with 808,432 parameters in f32 on CPU, .* steps of 64 tokens/);
    assert.match(more.text, new RegExp(`going on after step ${step} `));
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

Deno.test("reproduce_gpt's preset 124m is the reference's run", () => {
  const options = parseOptions(["--preset", "124m"]);
  const { layers, heads, embed, context, vocab, steps, totalBatch } = options;
  assert.deepEqual([layers, heads, embed, context, vocab], [12, 12, 768, 1024, 50304]);
  assert.deepEqual([steps, totalBatch, options.warmup], [19073, 524288, 715]);
  assert.deepEqual([options.weightDecay, options.clip, options.valBatches], [0.1, 1, 20]);
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

Deno.test("reproduce_gpt stops at a spike, saved, or leaves its step out", () =>
  inFolder(async (folder) => {
    // A model that hardly learns: half of its losses are above their mean.
    const args = ["--device", "cpu", "--steps", "60", "--lr", "1e-9", "--min-lr", "0", ...small];
    const tight = [...args, "--spike", "0.001"];
    const stopped = await finish(start(folder, [...tight, "--on-spike", "stop", "--out", "run"]));
    assert.notEqual(stopped.code, 0);
    const [, failed] =
      /step (\d+): the loss .* standard deviations above .*; everything before it is in run\. /
        .exec(stopped.text) ?? [];
    assert.ok(Number(failed) > 20, stopped.text);
    const before = `step_${String(Number(failed) - 1).padStart(8, "0")}.safetensors`;
    await Deno.stat(join(folder, "run", before));

    const skipped = await finish(
      start(folder, [...tight, "--resume", "run", "--on-spike", "skip"]),
    );
    assert.match(skipped.text, new RegExp(`going on after step ${Number(failed) - 1} `));
    assert.match(skipped.text, new RegExp(`step ${failed}/60 .*: step left out`));
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
    assert.match(resumed.text, /shuffled by 1337, found one in order/);
  }));
