/**
 * Trains a byte pair tokenizer on Shakespeare and, with it, GPT-2, GPT-3 and LLaMA 1, 2 and 3 of the same sizes on
 * the same batches, and compares them.
 *
 *     deno run --allow-read=runs --allow-write=runs --allow-net=raw.githubusercontent.com examples/next_token_byte_pair.ts
 *
 * Without options each model takes minutes without a GPU; `--preset spec`, with 7.5 million parameters and 100
 * epochs, is for a GPU. With `--data` a text of your own is read (allow its folder) and nothing is downloaded. All
 * options: `--help`. Ctrl-C finishes the step and saves; `--resume` continues, also after a crash.
 *
 * An epoch is every window of the text once, in an order determined by seed and epoch. A window has context + 1
 * tokens, of which the model reads all but the last and predicts all but the first; the next one begins `context`
 * tokens later. AdamW uses betas of 0.9 and 0.95 and a weight decay of 0.1 on matrices (PyTorch's defaults are 0.9,
 * 0.999, and 0.01 on all parameters). The GPTs are initialised like GPT-2, with a standard deviation of 0.02, less
 * for projections into the residual stream. They apply one dropout probability to embeddings, attention weights and
 * the outputs of sub-layers; the LLaMAs have no dropout. Losses and accuracies are measured after the epoch and
 * without dropout, those of training on as many windows as are held out.
 *
 * The run's folder contains `tokenizer.json`, `table.md` and `curves.svg`, and for each model a folder with the
 * parameters of the epoch with the best validation loss, which `examples/generate.ts` can load, the checkpoints,
 * TensorBoard's events and pictures of the attention.
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
  readParameters,
  readSelfAttention,
  readTensors,
  reshape,
  saveModel,
  scoped,
  type Tensor,
  tensor,
  TextLog,
  weightNorm,
} from "../mod.ts";
import { openChosenDevice } from "../src/cli/open_device.ts";
import { findRun } from "../src/cli/runs.ts";
import { openCorpus, type WindowBatch, type Windows } from "./next_token_byte_pair/data.ts";
import { drawSamples, readBeginning } from "./next_token_byte_pair/look.ts";
import { type Model, type ModelName, TITLES } from "./next_token_byte_pair/models.ts";
import { parseOptions } from "./next_token_byte_pair/options.ts";
import {
  bestEpoch,
  compare,
  Report,
  type Result,
  type Score,
} from "./next_token_byte_pair/report.ts";
import { epochSchedule, isShown } from "./next_token_byte_pair/schedule.ts";
import { Training } from "./next_token_byte_pair/training.ts";

const found = await findRun("next-token", parseOptions(Deno.args));
const { options } = found;
using runFolder = await found.open();
const folder = runFolder.path;
const device = await openChosenDevice(options);
using log = await TextLog.open(`${folder}/log.txt`, { echo: console.log });
const corpus = await openCorpus(folder, options, (text) => log.line(text));
const { tokenizer, train, validation, unigramEntropy } = corpus;
log.line(`${folder}: ${corpus.description}`);
log.line(`unigram entropy: ${unigramEntropy.toFixed(4)} nats`);
const steps = options.epochs * train.batches;
const schedule = epochSchedule(options, train.batches);

using interrupt = new Interrupt((signal) =>
  console.error(`\n${signal}: finishing this step and saving; interrupt again to exit immediately`)
);
const results: Result[] = [];
for (const name of options.models) {
  if (!interrupt.requested) results.push(await trainModel(name));
}
if (interrupt.requested) {
  log.line(`stopped; resume with --resume ${folder}`);
  Deno.exitCode = interrupt.exitCode;
} else log.line(`\n${await compare(folder, unigramEntropy, results)}`);

/** Trains one model, from the beginning or from where it stopped. */
async function trainModel(name: ModelName): Promise<Result> {
  const own = `${folder}/${name}`;
  using training = await Training.open(name, own, tokenizer.vocabSize, options, device);
  using report = await Report.open(name, own, log, training.step, train.batches);
  report.begin(training.step, steps, training.result);
  while (training.step < steps && !interrupt.requested) {
    if (await trainEpoch(training, report)) await endEpoch(training, report);
    await training.save();
  }
  return training.result;
}

/** Trains for the steps of an epoch, or the rest of them; returns whether it got to the end. */
async function trainEpoch(training: Training, report: Report): Promise<boolean> {
  const epoch = Math.floor(training.step / train.batches);
  using progress = await openProgress({
    label: `${TITLES[training.name]}, epoch ${epoch + 1}/${options.epochs}`,
    total: train.batches,
    from: training.step % train.batches,
    unit: "steps",
  });
  let reading = Promise.resolve();
  let i = training.step % train.batches;
  for (; i < train.batches && !interrupt.requested; i++) {
    const started = performance.now();
    const lr = schedule(training.step);
    const scalars = trainStep(training, train.batch(i, epoch), lr);
    const step = ++training.step;
    await reading;
    // The next step begins while these are read, so that the device does not wait.
    reading = readScalars(scalars).then(([loss, gradNorm]) => {
      if (!Number.isFinite(gradNorm)) {
        throw new Error(
          `${
            TITLES[training.name]
          }: step ${step}: expected a finite gradient norm but got ${gradNorm}`,
        );
      }
      report.step(step, { loss, gradNorm, lr });
      progress.update(step - epoch * train.batches, `| loss ${loss.toFixed(3)}`);
    });
    training.epochSeconds += (performance.now() - started) / 1000;
    // A complete epoch is saved with its figures, once these are known.
    if (step % options.saveEvery === 0 && i + 1 < train.batches) {
      await reading;
      await training.save();
    }
  }
  await reading;
  return i === train.batches;
}

/** Forward, backward and update. The loss and the gradient norm stay on the device. */
function trainStep(
  { model, optimizer, random: dropout }: Training,
  batch: WindowBatch,
  lr: number,
): readonly [loss: Tensor, gradNorm: Tensor] {
  return scoped(() => {
    // The gradients of the previous step were kept until now for the histograms.
    optimizer.zeroGrad();
    const { ids, targets } = upload(batch);
    const loss = model.loss(ids, targets, { dropout });
    loss.backward();
    const { norm, factor } = clipGradNorm(model.parameters(), options.clip);
    optimizer.step({ lr, gradScale: factor });
    return [loss, norm];
  });
}

/** A batch on the device, both sides (rows, context). */
function upload({ inputs, targets, rows }: WindowBatch): { ids: Tensor; targets: Tensor } {
  const put = (ids: Int32Array) => tensor(ids, { shape: [rows, options.context], device });
  return { ids: put(inputs), targets: put(targets) };
}

/** The score on some windows without dropout; as many batches as the held-out text has. */
async function evaluate(model: Model, windows: Windows, epoch = 0): Promise<Score> {
  const sums = { loss: 0, correct: 0, tokens: 0 };
  const batches = Math.min(windows.batches, validation.batches);
  for (let i = 0; i < batches; i++) {
    const [loss, correct, tokens] = await readScalars(noGrad(() =>
      scoped(() => {
        const { ids, targets } = upload(windows.batch(i, epoch));
        const logits = reshape(model.logits(ids), [ids.size, tokenizer.vocabSize]);
        const expected = reshape(targets, [targets.size]);
        const { correct, count } = accuracy(logits, expected);
        return [crossEntropy(logits, expected), correct, count] as const;
      })
    ));
    sums.loss += loss * tokens;
    sums.correct += correct;
    sums.tokens += tokens;
  }
  return { loss: sums.loss / sums.tokens, accuracy: sums.correct / sums.tokens };
}

/** Measures the model, writes figures and pictures, and saves the model if it is the best so far. */
async function endEpoch(training: Training, report: Report): Promise<void> {
  const { model, step, result, epochSeconds } = training;
  const started = performance.now();
  const epoch = step / train.batches;
  result.epochs.push({
    train: await evaluate(model, train, epoch),
    validation: await evaluate(model, validation),
    lr: schedule(step - 1),
    tokensPerSecond: train.tokens / epochSeconds,
  });
  result.seconds += epochSeconds + (performance.now() - started) / 1000;
  training.epochSeconds = 0;
  const [norm] = await readScalars([weightNorm(model.parameters())]);
  report.epoch(step, options.epochs, result, norm);
  report.histograms(step, await readParameters(model.parameters()));
  if (isShown(epoch, options.epochs)) await show(training, report, epoch);
  if (bestEpoch(result.epochs) === epoch - 1) {
    await saveModel(training.folder, model);
    await tokenizer.save(`${training.folder}/tokenizer.json`);
  }
}

/** Samples and attention maps; after the last epoch a map over a whole window of the held-out text, too. */
async function show({ model, step }: Training, report: Report, epoch: number): Promise<void> {
  for (const sample of await drawSamples(model, tokenizer, step, options)) {
    report.sample(step, sample);
  }
  await report.attention(step, epoch, await readBeginning(model, tokenizer, options.prompt));
  if (epoch < options.epochs) return;
  const whole = validation.batch(0).inputs.subarray(0, options.context);
  const layers = await readSelfAttention(model, tokenizer, whole);
  await report.attention(step, epoch, layers, "attention over a whole context");
}

/** Reads scalars in one wait, and frees them. */
async function readScalars<const Scalars extends readonly Tensor[]>(
  scalars: Scalars,
): Promise<{ [K in keyof Scalars]: number }> {
  const values = await readTensors(scalars);
  scalars.forEach((scalar) => scalar.dispose());
  return values.map(([value]) => value) as { [K in keyof Scalars]: number };
}
