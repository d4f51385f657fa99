// Runs the example as a person would: with the permissions of its header, killed and resumed, stopped by Ctrl-C.
import assert from "node:assert/strict";
import { join } from "node:path";
import { openCorpus } from "../../examples/next_token_byte_pair/data.ts";
import { createModel } from "../../examples/next_token_byte_pair/models.ts";
import { parseOptions } from "../../examples/next_token_byte_pair/options.ts";
import { epochSchedule, isShown } from "../../examples/next_token_byte_pair/schedule.ts";
import { formatRate } from "../../src/report/format.ts";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { assertSame } from "../support/compare.ts";
import { readSafetensorsForTest } from "../support/safetensors.ts";
import { finish, flagsOf, inFolder, startExample, writeText } from "../support/examples.ts";

const example = "next_token_byte_pair.ts";
const models = ["gpt2", "gpt3", "llama1", "llama2", "llama3"];
/** Models so small that a step takes milliseconds. */
const small = [
  ...["--preset", "tiny"],
  ...["--data", "runs/text.txt", "--device", "cpu", "--merges", "30", "--context", "16"],
  ...["--embed", "16", "--layers", "2", "--heads", "2", "--kv-heads", "1", "--batch-size", "16"],
  ...["--epochs", "2", "--save-every", "4", "--warmup", "0.3", "--dropout", "0.1"],
  ...["--samples", "1", "--sample-length", "5", "--prompt", "the king"],
];

Deno.test("next_token_byte_pair: all models straight equal a run killed and resumed, by the header's permissions", () =>
  inFolder(async (folder) => {
    await writeText(join(folder, "runs", "text.txt"));
    const flags = await flagsOf(example);
    const straight = await finish(
      startExample(folder, flags, example, ["--out", "runs/straight", ...small]),
    );
    assert.equal(straight.code, 0, straight.text);
    assert.match(straight.text, /merge 30\/30: [\d,]+ times \(\d+, \d+\) -> 285 "/);
    assert.match(
      straight.text,
      /GPT-2 epoch 2\/2 \| lr \d\.\d{5}e-0\d \| train loss \d\.\d{4}, accuracy \S+% \| validation loss/,
    );
    assert.match(
      straight.text,
      /--- GPT-2 after a random token:\n[^]*\n--- GPT-2 after the prompt:\n\[the king\]/,
    );

    // It is killed when the second model ends its first epoch, before that is saved.
    const child = startExample(folder, flags, example, ["--out", "runs/killed", ...small]);
    const killed = await finish(child, (text) => {
      if (/GPT-3 epoch 1\/2/.test(text)) kill(child);
    });
    assert.notEqual(killed.code, 0, "the run was not killed");
    const resumed = await finish(startExample(folder, flags, example, ["--resume", "runs/killed"]));
    assert.equal(resumed.code, 0, resumed.text);
    assert.match(resumed.text, /GPT-2, [\d,]+ parameters: done, best validation loss/);
    assert.doesNotMatch(resumed.text, /GPT-2 epoch/);

    const device = CpuDevice.open({ threads: 1 });
    for (const name of models) {
      const [a, b] = ["straight", "killed"].map((run) => join(folder, "runs", run, name));
      assertSame(await lastCheckpoint(a), await lastCheckpoint(b), name);
      const pictures = ["epoch_001", "epoch_002", "attention_over_a_whole_context"];
      for (const picture of pictures) await Deno.stat(join(b, `attention/${picture}.svg`));
      for (const file of ["config.json", "model.safetensors", "tokenizer.json"]) {
        await Deno.stat(join(b, file));
      }
      const model = await loadModel(b, { device });
      assert.equal(model.config.vocabSize, 286);
      model.dispose();
    }
    device.close();
    const [a, b] = await Promise.all(["straight", "killed"].map(async (run) => {
      const text = await Deno.readTextFile(join(folder, "runs", run, "results.json"));
      return JSON.parse(text, (key, value) => /seconds|PerSecond/.test(key) ? 0 : value);
    }));
    assert.deepEqual(a, b);
    assert.deepEqual(a.results.map((result: { model: string }) => result.model), models);
    for (const { epochs } of a.results) {
      assert.ok(epochs[1].train.loss < epochs[0].train.loss);
      assert.ok(epochs[1].validation.accuracy > 0 && epochs[1].validation.accuracy < 1);
    }
    const table = await Deno.readTextFile(join(folder, "runs", "killed", "table.md"));
    for (const title of ["GPT-2", "GPT-3", "LLaMA-1", "LLaMA-2", "LLaMA-3"]) {
      assert.match(table, new RegExp(`^\\| ${title} `, "m"));
    }
    await Deno.stat(join(folder, "runs", "killed", "curves.svg"));
  }));

Deno.test("next_token_byte_pair holds out a tenth of a text without line ends", () =>
  inFolder(async (folder) => {
    for (const end of ["", "\n"]) {
      const data = join(folder, "text.txt");
      await Deno.writeTextFile(data, "the king and the queen. ".repeat(100) + end);
      const { options } = parseOptions(["--data", data, "--merges", "5", "--context", "16"]);
      const { train, validation } = await openCorpus(folder, options, () => {});
      assert.ok(validation.count > 5 && train.count > 8 * validation.count);
    }
  }));

Deno.test("next_token_byte_pair finishes its step, saves and says how to go on at Ctrl-C", () =>
  inFolder(async (folder) => {
    await writeText(join(folder, "runs", "text.txt"));
    const args = ["--out", "runs/run", ...small, "--epochs", "100000", "--models", "llama2"];
    const child = startExample(folder, ["-A"], example, args);
    let sent = false;
    const { code, text } = await finish(child, (text) => {
      if (!sent && /LLaMA-2 epoch +1\//.test(text)) {
        sent = true;
        child.kill("SIGINT");
      }
    });
    assert.equal(code, 130, text);
    assert.match(text, /stopped; resume with --resume runs\/run/);
    const names = await Array.fromAsync(Deno.readDir(join(folder, "runs/run/llama2")));
    assert.ok(names.some(({ name }) => /^step_\d+\.safetensors$/.test(name)));
  }));

Deno.test("next_token_byte_pair refuses what cannot be", () =>
  inFolder(async (folder) => {
    await writeText(join(folder, "runs", "text.txt"));
    await Deno.writeTextFile(join(folder, "runs", "short.txt"), "a few words\n");
    await Deno.mkdir(join(folder, "runs", "used"));
    await Deno.writeTextFile(join(folder, "runs", "used", "options.json"), "{}");
    for (
      const [args, message] of [
        [["--models", "gpt2,gpt5"], /Expected one of gpt2, gpt3, llama1, llama2, llama3/],
        [["--kv-heads", "3"], /--kv-heads: expected a divisor of --heads 4 but got 3/],
        [["--data", "runs/short.txt"], /more tokens than a context of 64/],
        [["--warmup", "3"], /--warmup: expected fewer than 3 epochs but got 3/],
        [["--out", "runs/used"], /but got runs\/used; resume with --resume runs\/used/],
        [["--resume", "runs/other"], /expected a run in runs\/other but got none/],
        [
          ["--resume", "runs/used", "--epochs", "3"],
          /the run's own options but got --epochs; leave them out/,
        ],
      ] as const
    ) {
      const { code, text } = await finish(
        startExample(folder, ["-A"], example, ["--device", "cpu", ...args]),
      );
      assert.notEqual(code, 0, args.join(" "));
      assert.match(text, message);
    }
  }));

Deno.test("next_token_byte_pair's preset spec has the sizes and the rates of the run it answers to", () => {
  assert.equal(parseOptions([]).options.preset, "tiny");
  const { options } = parseOptions(["--preset", "spec"]);
  const device = CpuDevice.open({ threads: 1 });
  const counts = (["gpt2", "gpt3", "llama1"] as const).map((name) => {
    const model = createModel(name, 256 + options.merges, options, { device, random: null });
    const count = model.parameterCount();
    model.dispose();
    return count;
  });
  device.close();
  assert.deepEqual(counts, [7_487_232, 7_487_232, 7_661_952]);

  const batches = 7;
  const schedule = epochSchedule(options, batches);
  const rates = Array.from({ length: 100 }, (_, epoch) => schedule((epoch + 1) * batches - 1));
  assert.deepEqual(rates.slice(0, 6).map((rate) => rate.toFixed(6)), [
    ...["0.000200", "0.000400", "0.000600", "0.000800", "0.001000", "0.001000"],
  ]);
  assert.equal(formatRate(rates[99]), "1.02706e-05");
  assert.equal(schedule(99 * batches), rates[99], "one rate for a whole epoch");
  const shown = Array.from({ length: 35 }, (_, i) => i + 1).filter((epoch) => isShown(epoch, 35));
  assert.deepEqual(shown, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 35]);
});

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // it is dead already
  }
}

/** The tensors of the newest checkpoint: parameters and moments. */
async function lastCheckpoint(folder: string): Promise<Map<string, unknown>> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  const last = names.filter((name) => name.startsWith("step_")).sort().at(-1)!;
  return await readSafetensorsForTest(join(folder, last));
}
