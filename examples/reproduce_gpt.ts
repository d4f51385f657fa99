/**
 * Trains GPT-2 from scratch, as https://github.com/karpathy/build-nanogpt does, on FineWeb-Edu shards or,
 * with nothing at hand, on Moby Dick.
 *
 *     deno run --allow-read=runs --allow-write=runs examples/reproduce_gpt.ts
 *
 * All options: `--help`. Ctrl-C finishes the step and saves; `--resume` goes on, with the run's own options.
 *
 * @module
 */
import {
  AdamW,
  batchTensors,
  checkGradNorm,
  type Checkpoint,
  clipGradNorm,
  type Device,
  evaluateHellaSwag,
  fittingBatch,
  formatTimings,
  generate,
  GPT2,
  type GPT2Config,
  GPT2Tokenizer,
  type HellaSwagItem,
  type HellaSwagScore,
  Interrupt,
  loadHellaSwag,
  loadNewestCheckpoint,
  LossScaler,
  mul,
  openDevice,
  openProgress,
  OutOfMemoryError,
  RandomState,
  type RandomStateJson,
  readTensors,
  restoreRun,
  saveRun,
  Scope,
  StepGuard,
  type StepGuardState,
  type StepVerdict,
  type Tensor,
  TokenLoader,
  type TokenLoaderState,
  validationLoss,
  warmupCosine,
  WebGpuDevice,
} from "../mod.ts";
import { openCorpus } from "./reproduce_gpt/data.ts";
import { type Options, parseOptions } from "./reproduce_gpt/options.ts";
import { type Curves, Report } from "./reproduce_gpt/report.ts";
import { chooseFolder } from "./reproduce_gpt/folder.ts";

/** Trains as the command line `args` says. */
export async function main(args: string[]): Promise<void> {
  let options = parseOptions(args);
  const folder = await chooseFolder(options);
  const checkpoint = options.resume === undefined ? undefined : await loadNewestCheckpoint(folder, {
    onRefused: (error) => console.error(`${error.message}; trying the one before`),
  });
  if (options.resume !== undefined && !checkpoint) {
    throw new Error(`There is no checkpoint in ${folder}`);
  }
  // A run goes on as it began, but for what is said now.
  if (checkpoint) options = parseOptions(args, extraOf(checkpoint).options);
  const items = options.hellaswag &&
    await loadHellaSwag(options.hellaswag === true ? {} : { path: options.hellaswag });

  const device = await openDevice(options.device === "auto" ? {} : { kind: options.device });
  const dtype = options.dtype === "auto" ? fasterDtype(device) : options.dtype;
  const config: GPT2Config = {
    vocabSize: options.vocab,
    contextSize: options.context,
    embedSize: options.embed,
    layers: options.layers,
    heads: options.heads,
    dropout: options.dropout,
  };
  const { recompute } = options;
  const sequences = options.totalBatch / options.context;
  let batch = options.batch ?? await fittingBatch(device, config, { sequences, recompute, dtype });

  const tokenizer = new GPT2Tokenizer();
  const corpus = await openCorpus(options.data, tokenizer);
  const { seed } = options;
  const shuffle = options.shuffle ? { seed, separator: tokenizer.endOfText } : undefined;
  const shape = { contextSize: options.context, vocabSize: options.vocab };
  let loader = await TokenLoader.open(corpus.train, { ...shape, batchSize: batch, shuffle });
  await using validationLoader = await TokenLoader.open(corpus.validation, {
    ...shape,
    batchSize: batch,
  });

  const random = new RandomState(options.seed);
  const model = new GPT2(config, { device, dtype, random });
  const parameters = model.parameters();
  const optimizer = new AdamW(parameters, { betas: [0.9, 0.95], weightDecay: options.weightDecay });
  const scaler = dtype === "f16" ? new LossScaler(device) : undefined;
  const guard = new StepGuard({
    onNaN: options.onNan,
    spike: options.spike,
    onSpike: options.onSpike,
  });

  let step = 0;
  let curves: Curves = { train: [], validation: [] };
  if (checkpoint) {
    step = restoreRun(checkpoint, { model, optimizer, scaler, loader, random }).step;
    const extra = extraOf(checkpoint);
    curves = extra.curves;
    if (extra.guard) guard.restore(extra.guard);
  }
  using report = await Report.open(folder, step, curves);
  report.line(corpus.description);
  report.line(
    `GPT-2 with ${model.parameterCount().toLocaleString("en")} parameters in ${dtype} on ` +
      `${device.description}; ${options.steps} steps of ` +
      `${options.totalBatch.toLocaleString("en")} tokens` +
      (options.batch ? "" : `, ${batch} sequences at a time`),
  );
  report.line(
    step ? `going on after step ${step} from ${checkpoint!.path}` : `writing to ${folder}`,
  );

  const schedule = warmupCosine({
    maxLr: options.lr,
    minLr: options.minLr,
    warmupSteps: options.warmup,
    totalSteps: options.steps,
  });
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
    const before = { loader: loader.state(), random: random.state() };
    step++;
    const lr = schedule(step);
    const outcome = await trainStep(lr).catch((error) => retryOrExplain(error, before));
    if (!outcome) continue;
    const { loss, gradNorm, verdict } = outcome;
    const seconds = (performance.now() - stepStarted) / 1000;
    const tokensPerSecond = options.totalBatch / seconds;
    const left = (performance.now() - started) / 1000 / (step - first) * (options.steps - step);
    report.step(step, options.steps, {
      ...{ loss, gradNorm, lr, tokensPerSecond, seconds, left },
      note: (scaler && !Number.isFinite(gradNorm) ? " | overflow, step refused" : "") +
        (verdict.warning ? ` | ${verdict.warning}` : "") +
        (verdict.action === "skip" ? ": step left out" : ""),
    });
    if (verdict.action === "stop") await stop(outcome.fault ?? verdict.warning, before);
    if (items && (step % options.hellaswagEvery === 0 || step === options.steps)) {
      await scoreHellaSwag(items);
    }
    if (isMilestone(step)) {
      await validate();
      await showSamples();
      await save();
    }
  }
  if (saved !== step) await save();
  await loader.close();
  report.line(
    `loss curves: ${await report.draw(`GPT-2, ${options.preset}: ${device.description}`)}`,
  );
  if (options.profile) report.line(formatTimings(await device.timings()));
  if (interrupt.requested && step < options.steps) {
    report.line(`stopped after step ${step} of ${options.steps}; go on with --resume ${folder}`);
  }

  /** Forward and backward; one wait for the loss and the gradients' norm, which decide on the update. */
  async function trainStep(lr: number): Promise<Outcome> {
    using scope = new Scope();
    const microSteps = options.totalBatch / loader.batchTokens;
    using progress = await openProgress({
      label: `step ${step}`,
      total: microSteps,
      unit: "batches",
    });
    const losses: Tensor[] = [];
    for (let micro = 0; micro < microSteps; micro++) {
      const tokens = await loader.next();
      using _micro = new Scope();
      const { ids, targets } = batchTensors(tokens, [batch, options.context], device);
      const loss = model.loss(ids, targets, { dropout: random, recompute });
      loss.backward(scaler ? mul(scaler.scale, 1 / microSteps) : 1 / microSteps);
      loss.moveTo(scope);
      losses.push(loss);
      progress.update(micro + 1);
    }
    const { norm, factor } = clipGradNorm(parameters, options.clip, { scaler });
    const [[gradNorm], ...values] = await readTensors([norm, ...losses]);
    const loss = values.reduce((sum, [loss]) => sum + loss, 0) / microSteps;
    const verdict = guard.judge(loss, gradNorm, scaler !== undefined);
    if (verdict.action === "apply") optimizer.step({ lr, gradScale: factor });
    const fault = verdict.action === "stop"
      ? await checkGradNorm(gradNorm, parameters).catch((error: Error) => error.message)
      : undefined;
    scaler?.update(factor);
    optimizer.zeroGrad();
    return { loss, gradNorm, verdict, fault };
  }

  /** Takes the model back to before this step, as far as a step that made no update needs it. */
  function rewind(before: Position): void {
    loader.restore(before.loader);
    random.restore(before.random);
    optimizer.zeroGrad();
    step--;
  }

  /** Ends the run at a fault, with everything saved that was learnt before. */
  async function stop(fault: string, before: Position): Promise<never> {
    const failed = step;
    rewind(before);
    if (saved !== step) await save();
    throw new Error(
      `step ${failed}: ${fault}; everything before it is in ${folder}. Go on with --resume ${folder} and ` +
        `--on-nan skip, --on-spike skip, or a lower --lr`,
    );
  }

  /** Halves a micro-batch that was too large and was not asked for; tells of any other failure. */
  async function retryOrExplain(error: Error, before: Position): Promise<undefined> {
    const isOutOfMemory = error instanceof OutOfMemoryError;
    if (isOutOfMemory && batch > 1 && options.batch === undefined) {
      rewind(before);
      await loader.close();
      batch /= 2;
      loader = await TokenLoader.open(corpus.train, { ...shape, batchSize: batch, shuffle });
      loader.restore(before.loader);
      report.line(`${error.message}; going on with ${batch} sequences at a time`);
      return;
    }
    report.line(`step ${step} failed: ${error.message}`);
    if (isOutOfMemory) report.line("lower --batch or --context, or add --recompute");
    if (saved > 0) {
      report.line(`the last checkpoint is of step ${saved}; go on with --resume ${folder}`);
    }
    throw error;
  }

  async function validate(): Promise<void> {
    const loss = await validationLoss(model, validationLoader, options.valBatches, device);
    report.validation(step, loss);
    report.line(`validation loss ${loss.toFixed(4)} after ${step} steps`);
    if (Number.isFinite(loss)) return;
    throw new Error(
      `the weights are lost after step ${step}` +
        (saved > 0 ? `; the last checkpoint is of step ${saved}` : "") + ": lower --lr or --clip",
    );
  }

  /** HellaSwag, with its progress. */
  async function scoreHellaSwag(items: HellaSwagItem[]): Promise<void> {
    using progress = await openProgress({ label: "HellaSwag", total: items.length, unit: "items" });
    const onProgress = (score: HellaSwagScore) => progress.update(score.items);
    report.hellaSwag(step, await evaluateHellaSwag(model, tokenizer, items, { onProgress }));
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
    const extra = { options: { ...options }, curves: { ...curves }, guard: { ...guard.state() } };
    const run = { model, optimizer, scaler, loader, random };
    const path = await saveRun(folder, step, run, { keep: options.keep, extra });
    saved = step;
    report.line(`saved ${path}`);
  }

  /** The steps 1, 2, 5, 10, 50, 100, every N, and the last. */
  function isMilestone(step: number): boolean {
    return [1, 2, 5, 10, 50, 100, options.steps].includes(step) || step % options.every === 0;
  }
}

/** What became of a step. */
interface Outcome {
  readonly loss: number;
  readonly gradNorm: number;
  readonly verdict: StepVerdict;
  /** The parameters whose gradients are no numbers, where that ends the run. */
  readonly fault?: string | void;
}

/** Where data and random numbers stood before a step. */
interface Position {
  readonly loader: TokenLoaderState;
  readonly random: RandomStateJson;
}

/** What a checkpoint keeps for this program. */
interface Extra {
  readonly options: Partial<Options>;
  readonly curves: Curves;
  readonly guard?: StepGuardState;
}

function extraOf(checkpoint: Checkpoint): Extra {
  return (checkpoint.state as unknown as { extra: Extra }).extra;
}

/** f16 on a GPU that has it; a software adapter only emulates it. */
function fasterDtype(device: Device): "f16" | "f32" {
  const isGpu = device instanceof WebGpuDevice && !device.software;
  return isGpu && device.dtypes.has("f16") ? "f16" : "f32";
}

if (import.meta.main) await main(Deno.args);
