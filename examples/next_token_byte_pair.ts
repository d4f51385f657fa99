/**
 * Trains a byte pair tokenizer on Shakespeare, and with it GPT-2, GPT-3 and LLaMA 1, 2 and 3 one after the other,
 * with the same sizes on the same batches, and puts them side by side.
 *
 *     deno run --allow-read=runs --allow-write=runs --allow-net=raw.githubusercontent.com examples/next_token_byte_pair.ts
 *
 * The full sizes are for a GPU; `--preset tiny` takes minutes a model without one. With `--data` a text of your own
 * is read (permit its folder) and nothing is downloaded. All options: `--help`. Ctrl-C finishes the step and saves;
 * `--resume` goes on, also after a crash.
 *
 * An epoch is every window of the text once, in an order that the seed and the epoch tell: context + 1
 * tokens, of which the model reads all but the last and predicts all but the first; the next window begins
 * `context` tokens further on.
 *
 * A run's folder has `tokenizer.json`, `table.md` and `curves.svg`, and for each model a folder that
 * `examples/generate.ts` continues texts with (the parameters of the epoch with the best validation loss), the
 * checkpoints, TensorBoard's events and a picture of the attention.
 *
 * @module
 */
import {
  accuracy,
  clipGradNorm,
  crossEntropy,
  Interrupt,
  noGrad,
  openProgress,
  type RandomState,
  readTensors,
  reshape,
  saveModel,
  scoped,
  type Tensor,
  tensor,
  TextLog,
  warmupCosine,
} from "../mod.ts";
import { openChosenDevice } from "../src/cli/open_device.ts";
import { openCorpus, type WindowBatch } from "./next_token_byte_pair/data.ts";
import { openRun } from "./next_token_byte_pair/folder.ts";
import { drawSamples, readAttention, readParameters } from "./next_token_byte_pair/look.ts";
import { type Model, type ModelName, TITLES } from "./next_token_byte_pair/models.ts";
import { parseOptions } from "./next_token_byte_pair/options.ts";
import {
  bestEpoch,
  compare,
  Report,
  type Result,
  type Score,
} from "./next_token_byte_pair/report.ts";
import { NOTHING, scoreOf, Training, withBatch } from "./next_token_byte_pair/training.ts";

const run = await openRun(parseOptions(Deno.args));
using _folder = run.folder;
const { folder: { path: folder }, options } = run;
const device = await openChosenDevice(options);
using log = await TextLog.open(`${folder}/log.txt`, { echo: console.log });
const corpus = await openCorpus(folder, options);
const { tokenizer, train, validation, unigramEntropy } = corpus;
log.line(`${folder}: ${corpus.description}`);
log.line(`unigram entropy of these tokens: ${unigramEntropy.toFixed(4)} nats`);
const steps = options.epochs * train.batches;
/** The learning rate of an epoch, counted from 0. */
const schedule = warmupCosine({
  maxLr: options.lr,
  minLr: options.minLr,
  decaySteps: options.epochs,
});

using interrupt = new Interrupt((signal) =>
  console.error(`\n${signal}: finishing this step and saving; once more ends at once`)
);
const results: Result[] = [];
for (const name of options.models) {
  if (!interrupt.requested) results.push(await trainModel(name));
}
if (interrupt.requested) {
  log.line(`stopped; go on with --resume ${folder}`);
  Deno.exitCode = interrupt.exitCode;
} else log.line(`\n${await compare(folder, unigramEntropy, results)}`);

/** Trains one model, from the beginning or from where it stopped. */
async function trainModel(name: ModelName): Promise<Result> {
  const own = `${folder}/${name}`;
  using training = await Training.open(name, own, tokenizer.vocabSize, options, device);
  using report = await Report.open(name, own, log, training.step);
  report.begin(training.step, steps, training.result);
  while (training.step < steps && !interrupt.requested) {
    await trainEpoch(training, report);
    if (training.step % train.batches === 0) await endEpoch(training, report);
    await training.save();
  }
  return training.result;
}

/** The steps of an epoch, or the rest of them. */
async function trainEpoch(training: Training, report: Report): Promise<void> {
  const epoch = Math.floor(training.step / train.batches);
  using progress = await openProgress({
    label: `${TITLES[training.name]}, epoch ${epoch + 1}/${options.epochs}`,
    total: train.batches,
    unit: "steps",
  });
  let reading = Promise.resolve();
  for (let i = training.step % train.batches; i < train.batches && !interrupt.requested; i++) {
    const started = performance.now();
    // The rate falls from epoch to epoch; only the warm-up goes by steps.
    const lr = schedule(epoch) * Math.min(1, (training.step + 1) / (options.warmup + 1));
    const scalars = trainStep(training, train.batch(i, epoch), lr);
    const step = ++training.step;
    await reading;
    // The next step begins while these are read, so that the device need not wait.
    reading = readScalars(scalars).then(([loss, correct, tokens, gradNorm]) => {
      if (!Number.isFinite(gradNorm)) {
        throw new Error(`${TITLES[training.name]}: the gradient of step ${step} is ${gradNorm}`);
      }
      training.sums = withBatch(training.sums, loss, correct, tokens);
      report.step(step, { loss, gradNorm, lr });
      progress.update(i + 1, `| loss ${loss.toFixed(3)}`);
    });
    training.epochSeconds += (performance.now() - started) / 1000;
    // An epoch that is whole is saved with its figures, when they are known.
    if (step % options.saveEvery === 0 && i + 1 < train.batches) {
      await reading;
      await training.save();
    }
  }
  await reading;
}

/** Forward, backward and update. Loss, right answers, predictions and gradient norm stay on the device. */
function trainStep(
  { model, optimizer, random }: Training,
  batch: WindowBatch,
  lr: number,
): Tensor[] {
  return scoped(() => {
    // The gradients of the last step stay until now, for the histograms.
    optimizer.zeroGrad();
    const { loss, correct, count } = score(model, batch, random);
    loss.backward();
    const { norm, factor } = clipGradNorm(model.parameters(), options.clip);
    optimizer.step({ lr, gradScale: factor });
    return [loss, correct, count, norm];
  });
}

/** The mean loss of a batch, how many tokens were guessed right, and of how many. */
function score(
  model: Model,
  { inputs, targets, rows }: WindowBatch,
  dropout?: RandomState,
): { loss: Tensor; correct: Tensor; count: Tensor } {
  return scoped(() => {
    const ids = tensor(inputs, { shape: [rows, options.context], device });
    const expected = tensor(targets, { device });
    const logits = model.logits(ids, { dropout });
    const flat = reshape(logits, [expected.size, tokenizer.vocabSize]);
    return { loss: crossEntropy(flat, expected), ...accuracy(flat, expected) };
  });
}

/** The score of the whole held-out text. */
async function validate(model: Model): Promise<Score> {
  let sums = NOTHING;
  for (let i = 0; i < validation.batches; i++) {
    const { loss, correct, count } = noGrad(() => score(model, validation.batch(i)));
    const [mean, right, tokens] = await readScalars([loss, correct, count]);
    sums = withBatch(sums, mean, right, tokens);
  }
  return scoreOf(sums);
}

/** Validates, writes what is to be seen, and saves the model if it is the best so far. */
async function endEpoch(training: Training, report: Report): Promise<void> {
  const { model, sums, step, result, epochSeconds } = training;
  const started = performance.now();
  result.epochs.push({
    train: scoreOf(sums),
    validation: await validate(model),
    lr: schedule(step / train.batches - 1),
    tokensPerSecond: sums.tokens / epochSeconds,
  });
  result.seconds += epochSeconds + (performance.now() - started) / 1000;
  training.sums = NOTHING;
  training.epochSeconds = 0;
  report.epoch(step, options.epochs, result);
  report.histograms(step, await readParameters(model));
  const epoch = result.epochs.length;
  if (epoch % options.sampleEvery === 0 || step === steps) {
    for (const { after, text } of await drawSamples(model, tokenizer, step, options)) {
      report.sample(step, after, text);
    }
    await report.attention(step, await readAttention(model, tokenizer, options.prompt));
  }
  if (bestEpoch(result.epochs) === epoch - 1) {
    await saveModel(training.folder, model);
    await tokenizer.save(`${training.folder}/tokenizer.json`);
  }
}

async function readScalars(scalars: Tensor[]): Promise<number[]> {
  const values = await readTensors(scalars);
  scalars.forEach((scalar) => scalar.dispose());
  return values.map(([value]) => value);
}
