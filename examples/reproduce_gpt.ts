/**
 * Trains GPT-2 from scratch, as https://github.com/karpathy/build-nanogpt does, on FineWeb-Edu shards or,
 * with nothing at hand, on Moby Dick.
 *
 *     deno run --allow-read=runs --allow-write=runs examples/reproduce_gpt.ts
 *
 * All options: `--help`. Ctrl-C finishes the step and saves; `--resume` goes on.
 *
 * @module
 */
import {
  AdamW,
  batchTensors,
  checkGradNorm,
  clipGradNorm,
  formatDuration,
  formatTimings,
  generate,
  GPT2,
  GPT2Tokenizer,
  Interrupt,
  loadNewestCheckpoint,
  LossScaler,
  mul,
  openDevice,
  openProgress,
  RandomState,
  readTensors,
  restoreRun,
  saveRun,
  Scope,
  type Tensor,
  TokenLoader,
  validationLoss,
  warmupCosine,
} from "../mod.ts";
import { openCorpus } from "./reproduce_gpt/data.ts";
import { parseOptions } from "./reproduce_gpt/options.ts";
import { type Curves, Report } from "./reproduce_gpt/report.ts";
import { chooseFolder } from "./reproduce_gpt/folder.ts";

const options = parseOptions(Deno.args);
const folder = await chooseFolder(options);
const checkpoint = options.resume === undefined ? undefined : await loadNewestCheckpoint(folder, {
  onRefused: (error) => console.error(`${error.message}; trying the one before`),
});
if (options.resume !== undefined && !checkpoint) {
  throw new Error(`There is no checkpoint in ${folder}`);
}

const device = await openDevice(options.device === "auto" ? {} : { kind: options.device });
const tokenizer = new GPT2Tokenizer();
const corpus = await openCorpus(options.data, tokenizer);
const shape = { batchSize: options.batch, contextSize: options.context, vocabSize: options.vocab };
await using loader = await TokenLoader.open(corpus.train, shape);
await using validationLoader = await TokenLoader.open(corpus.validation, shape);

const random = new RandomState(options.seed);
const model = new GPT2({
  vocabSize: options.vocab,
  contextSize: options.context,
  embedSize: options.embed,
  layers: options.layers,
  heads: options.heads,
  dropout: options.dropout,
}, { device, dtype: options.dtype, random });
const parameters = model.parameters();
const optimizer = new AdamW(parameters, { betas: [0.9, 0.95], weightDecay: options.weightDecay });
const scaler = options.dtype === "f16" ? new LossScaler(device) : undefined;
const run = { model, optimizer, scaler, loader, random };

let step = 0;
let curves: Curves = { train: [], validation: [] };
if (checkpoint) {
  const restored = restoreRun(checkpoint, run);
  step = restored.step;
  curves = (restored.extra as unknown as { curves: Curves }).curves;
}
using report = await Report.open(folder, step, curves);
report.line(corpus.description);
report.line(
  `GPT-2 with ${model.parameterCount().toLocaleString("en")} parameters in ${options.dtype} on ` +
    `${device.description}; ${options.steps} steps of ${
      options.totalBatch.toLocaleString("en")
    } tokens`,
);
report.line(step ? `going on after step ${step} from ${checkpoint!.path}` : `writing to ${folder}`);

const schedule = warmupCosine({
  maxLr: options.lr,
  minLr: options.minLr,
  warmupSteps: options.warmup,
  totalSteps: options.steps,
});
const microSteps = options.totalBatch / loader.batchTokens;
let saved = step;
using interrupt = new Interrupt(() =>
  console.error("\nCtrl-C: finishing this step and saving ...")
);
if (step === 0) await validate();
if (options.profile) device.profile(true);

const started = performance.now();
const first = step;
while (step < options.steps && !interrupt.requested) {
  const stepStarted = performance.now();
  step++;
  const lr = schedule(step);
  const { loss, gradNorm } = await trainStep(lr).catch(explain);
  const seconds = (performance.now() - stepStarted) / 1000;
  const tokensPerSecond = options.totalBatch / seconds;
  const left = (performance.now() - started) / 1000 / (step - first) * (options.steps - step);
  report.step(step, { loss, gradNorm, lr, tokensPerSecond });
  report.line(
    `step ${String(step).padStart(String(options.steps).length)}/${options.steps} | ` +
      `lr ${printed(lr)} | grad_norm ${gradNorm.toFixed(4)} | loss ${loss.toFixed(4)} | ` +
      `${Math.round(tokensPerSecond).toLocaleString("en")} tokens/s | ${
        formatDuration(seconds)
      } | ` +
      `${formatDuration(left)} left` +
      (Number.isFinite(gradNorm) ? "" : " | overflow, step refused"),
  );
  if (isMilestone(step)) {
    await validate();
    await showSamples();
    await save();
  }
}
if (saved !== step) await save();
report.line(`loss curves: ${await report.draw(`GPT-2, ${options.preset}: ${device.description}`)}`);
if (options.profile) report.line(formatTimings(await device.timings()));
if (interrupt.requested && step < options.steps) {
  report.line(`stopped after step ${step} of ${options.steps}; go on with --resume ${folder}`);
}

/** Forward, backward and update; reads the loss and the gradients' norm in one wait. */
async function trainStep(lr: number): Promise<{ loss: number; gradNorm: number }> {
  using scope = new Scope();
  using progress = await openProgress({
    label: `step ${step}`,
    total: microSteps,
    unit: "batches",
  });
  const losses: Tensor[] = [];
  for (let micro = 0; micro < microSteps; micro++) {
    const batch = await loader.next();
    using _micro = new Scope();
    const { ids, targets } = batchTensors(batch, [options.batch, options.context], device);
    const loss = model.loss(ids, targets, { dropout: random });
    loss.backward(scaler ? mul(scaler.scale, 1 / microSteps) : 1 / microSteps);
    loss.moveTo(scope);
    losses.push(loss);
    progress.update(micro + 1);
  }
  const { norm, factor } = clipGradNorm(parameters, options.clip, { scaler });
  optimizer.step({ lr, gradScale: factor });
  scaler?.update(factor);
  const [[gradNorm], ...values] = await readTensors([norm, ...losses]);
  if (!scaler) await checkGradNorm(gradNorm, parameters);
  optimizer.zeroGrad();
  return { loss: values.reduce((sum, [loss]) => sum + loss, 0) / microSteps, gradNorm };
}

/** Says what was saved before a step failed, and passes the failure on. */
function explain(error: Error): never {
  report.line(`step ${step} failed: ${error.message}`);
  if (saved > 0) {
    report.line(`the last checkpoint is of step ${saved}; go on with --resume ${folder}`);
  }
  throw error;
}

async function validate(): Promise<void> {
  const loss = await validationLoss(model, validationLoader, options.valBatches, device);
  report.validation(step, loss);
  report.line(`validation loss ${loss.toFixed(4)} after ${step} steps`);
}

async function showSamples(): Promise<void> {
  if (options.samples === 0) return;
  const rows = await generate(model, [tokenizer.encodeOrdinary(options.prompt)], {
    length: options.sampleLength,
    overflow: "slide",
    samples: options.samples,
    topK: 50,
    vocabSize: tokenizer.vocabSize,
    random: new RandomState(options.seed + step),
  });
  for (const { ids } of rows) report.sample(step, options.prompt + tokenizer.decode(ids));
}

async function save(): Promise<void> {
  const { curves } = report;
  const path = await saveRun(folder, step, run, {
    keep: options.keep,
    extra: { options: { ...options }, curves: { ...curves } },
  });
  saved = step;
  report.line(`saved ${path}`);
}

/** The steps 1, 2, 5, 10, 50, 100, every N, and the last. */
function isMilestone(step: number): boolean {
  return [1, 2, 5, 10, 50, 100, options.steps].includes(step) || step % options.every === 0;
}

/** As C prints with %.5e. */
function printed(lr: number): string {
  return lr.toExponential(5).replace(/e([+-])(\d)$/, "e$10$2");
}
