/**
 * Trains the encoder-decoder Transformer to translate English to French, shows what it learns, and translates with
 * it.
 *
 *     deno run --allow-read=runs --allow-write=runs --allow-net=www.manythings.org examples/seq_to_seq_with_transformer.ts
 *
 * The sentence pairs come from https://www.manythings.org/anki/, or from a file of your own with `--data`, which
 * needs `--allow-read`, too. Without options it takes minutes without a GPU; `--preset spec`, with all pairs and 19
 * million parameters, is for a GPU. All options: `--help`. Ctrl-C finishes the step and saves; `--resume` continues.
 * `--translate "i am happy ."` translates.
 *
 * `--dropout` is one probability for embeddings, attention weights and the outputs of sub-layers.
 *
 * @module
 */
import {
  Adam,
  checkGradNorm,
  checkpointExtra,
  cleanSentence,
  clipGradNorm,
  formatDuration,
  Interrupt,
  loadNewestCheckpoint,
  openProgress,
  RandomState,
  readParameters,
  readTensors,
  restoreRun,
  saveRun,
  Scope,
  shuffledOrder,
  Transformer,
  type TranslationBatch,
  warmupCosine,
  weightNorm,
} from "../mod.ts";
import { openCorpus } from "./seq_to_seq_with_transformer/data.ts";
import { evaluate, upload } from "./seq_to_seq_with_transformer/evaluate.ts";
import { LEGEND } from "./seq_to_seq_with_transformer/look.ts";
import { parseOptions } from "./seq_to_seq_with_transformer/options.ts";
import { type Curves, Report } from "./seq_to_seq_with_transformer/report.ts";
import { isShown, showcase, showEpoch } from "./seq_to_seq_with_transformer/showcase.ts";
import { Interpreter } from "../src/cli/interpreter.ts";
import { openChosenDevice } from "../src/cli/open_device.ts";
import { findRun, newestOf } from "../src/cli/runs.ts";

const KIND = "translator";

const line = parseOptions(Deno.args);
const device = await openChosenDevice(line.options);
if (line.translate !== undefined) {
  const interpreter = await Interpreter.load(line.model ?? await newestOf(KIND), device);
  const sentence = cleanSentence(line.translate);
  const unknown = interpreter.unknownWords(sentence);
  if (unknown.length) console.error(`not in the vocabulary: ${unknown.join(", ")}`);
  const [translation] = await interpreter.translate([sentence], line.beamWidth);
  console.log(translation!.text);
  Deno.exit();
}

const found = await findRun(KIND, line);
const { options } = found;
const corpus = await openCorpus(options);
using runFolder = await found.open();
const folder = runFolder.path;
const { trainRows } = corpus;
const random = new RandomState(options.seed);
const model = new Transformer({
  sourceVocabSize: corpus.source.size,
  targetVocabSize: corpus.target.size,
  hiddenSize: options.embed,
  intermediateSize: options.hidden,
  numHiddenLayers: options.layers,
  numAttentionHeads: options.heads,
  dropout: options.dropout,
  maxPositionEmbeddings: Math.max(options.sourceLength, options.targetLength),
}, { device, random });
const parameters = model.parameters();
const optimizer = new Adam(parameters);
const interpreter = new Interpreter(model, corpus.source, corpus.target);
const run = { model, optimizer, random };

let step = 0;
let curves: Curves = { steps: [], epochs: [] };
const checkpoint = await loadNewestCheckpoint(folder, {
  onRefused: (error) => console.error(`${error.message}; trying the previous one`),
});
if (checkpoint) {
  ({ curves } = checkpointExtra(checkpoint, ["curves"]) as unknown as { curves: Curves });
  step = restoreRun(checkpoint, run).step;
}
using report = await Report.open(folder, step, curves);
report.line(corpus.description);
report.vocabularies(corpus);
report.line(`sentence lengths: ${await report.drawLengths(corpus, options)}`);
report.line(
  `Transformer with ${model.parameterCount().toLocaleString("en")} parameters on ` +
    `${device.description}; ${options.epochs} epochs in batches of ${options.batch} pairs`,
);
report.line(LEGEND);
report.line(step ? `resuming after step ${step} from ${checkpoint!.path}` : `writing to ${folder}`);

const batches = Math.ceil(trainRows.count / options.batch); // in an epoch
const steps = options.epochs * batches;
const schedule = warmupCosine({
  maxLr: options.lr,
  minLr: options.minLr,
  warmupSteps: Math.min(options.warmup, Math.floor(steps / 10)),
  totalSteps: steps,
});
using interrupt = new Interrupt((signal) =>
  console.error(`\n${signal}: finishing this step and saving; interrupt again to exit immediately`)
);
let saved = step;

while (step < steps && !interrupt.requested) {
  const epoch = Math.floor(step / batches);
  const started = performance.now();
  await trainEpoch(epoch);
  if (step % batches !== 0) break;
  await endEpoch(epoch + 1);
  report.line(`  took ${formatDuration((performance.now() - started) / 1000)}`);
  // Before the checkpoint, so that a run that is killed in between writes it again.
  await interpreter.save(folder);
  await save();
}
if (saved !== step) await save();
if (step < steps) {
  report.line(`stopped after step ${step} of ${steps}; resume with --resume ${folder}`);
  Deno.exitCode = interrupt.exitCode;
} else {
  // Loads the saved model to show it, which also tests that it can be loaded.
  const loaded = await Interpreter.load(folder, device);
  await showcase(loaded, corpus, report, options, step);
  report.line(`to translate: --translate "..." --model ${folder}`);
}

/** Trains for the rest of an epoch, from the current step; seed and epoch determine the order of the pairs. */
async function trainEpoch(epoch: number): Promise<void> {
  const order = shuffledOrder(trainRows.count, options.seed, epoch);
  using progress = await openProgress({
    label: `epoch ${epoch + 1}`,
    total: batches,
    from: step % batches,
    unit: "batches",
  });
  for (const batch of trainRows.batches(options.batch, { order, from: step % batches })) {
    step++;
    const { loss, gradNorm } = await trainStep(batch, schedule(step)).catch(explain);
    report.step(step, { loss, gradNorm, lr: schedule(step) });
    progress.update(step - epoch * batches, `loss ${loss.toFixed(4)}`);
    // A complete epoch is saved with its figures, once these are known.
    if (step % options.saveEvery === 0 && step % batches !== 0) await save();
    if (interrupt.requested) return;
  }
}

/** Forward, backward and update; reads the loss and the gradient norm together. */
async function trainStep(
  batch: TranslationBatch,
  lr: number,
): Promise<{ loss: number; gradNorm: number }> {
  using _scope = new Scope();
  // The gradients of the previous step were kept until now for the histograms.
  optimizer.zeroGrad();
  const { sourceIds, decoderInputIds, targets } = upload(batch, device);
  const loss = model.loss(sourceIds, decoderInputIds, targets, {
    labelSmoothing: options.labelSmoothing,
    dropout: random,
  });
  loss.backward();
  const { norm, factor } = clipGradNorm(parameters, options.clip);
  optimizer.step({ lr, gradScale: factor });
  const [lossValue, gradNorm] = (await readTensors([loss, norm])).map((values) => values[0]!);
  await checkGradNorm(gradNorm!, parameters);
  return { loss: lossValue!, gradNorm: gradNorm! };
}

/**
 * Measures the model and writes figures and pictures. Training is measured on as many pairs as are held out, or on a
 * tenth.
 */
async function endEpoch(epoch: number): Promise<void> {
  const held = corpus.validationRows;
  const rows = held.count || Math.ceil(trainRows.count / 10);
  const train = await evaluate(model, trainRows, device, { rows, seed: epoch });
  const figures = held.count
    ? { train, validation: await evaluate(model, held, device) }
    : { train };
  using norm = weightNorm(parameters);
  report.epoch(epoch, options.epochs, step, figures, await norm.item());
  report.histograms(step, await readParameters(parameters));
  if (isShown(epoch)) await showEpoch(interpreter, corpus, report, options, { epoch, step });
}

async function save(): Promise<void> {
  await saveRun(folder, step, run, { keep: 2, extra: { curves: report.state() } });
  saved = step;
}

/** Reports what was saved before a step failed, and rethrows the error. */
function explain(error: Error): never {
  report.line(`step ${step} failed: ${error.message}`);
  if (saved > 0) report.line(`step ${saved} is saved; resume with --resume ${folder}`);
  throw error;
}
