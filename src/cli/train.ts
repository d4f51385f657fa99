/** `dinograd train`: trains GPT-2, as https://github.com/karpathy/build-nanogpt does, or by newer recipes. */
import {
  batchSizeWarmup,
  type Communicator,
  type Device,
  fittingBatch,
  formatBytes,
  formatTimings,
  GPT2Tokenizer,
  Interrupt,
  openCommunicator,
  openProgress,
  readTensors,
  shareJson,
  shareOf,
  warmupCosine,
  warmupStableDecay,
  WebGpuDevice,
} from "../../mod.ts";
import { openChosenDevice } from "./open_device.ts";
import { Checks, isMilestone, WeightsLostError } from "./train/checks.ts";
import { openCorpus } from "./train/corpus.ts";
import { newFolder, openResumed } from "./train/folder.ts";
import { MODEL_NAMES, sizesOf } from "./train/model.ts";
import { type Options, parseOptions } from "./train/options.ts";
import { Ranks } from "./train/ranks.ts";
import { Report, type StepOutcome, type StepPlan } from "./train/report.ts";
import { StepRefusedError, Training } from "./train/training.ts";

/** Milliseconds between two looks at the loss inside a step: each makes a GPU wait. */
const READ_EVERY = 2000;

/** Trains as the command line `args` says; under `mpirun` on all its ranks together. */
export async function train(args: string[]): Promise<void> {
  const asked = parseOptions(args);
  await using communicator = await openCommunicator();
  const { rank, size } = communicator;
  try {
    await trainOn(communicator, asked, args);
  } catch (error) {
    const { message, cause } = error as Error;
    if (size > 1 && !isShared(cause)) await communicator.abort(message);
    if (rank === 0) throw error;
  }
}

async function trainOn(
  communicator: Communicator,
  asked: Options,
  args: string[],
): Promise<void> {
  const isFirst = communicator.rank === 0;
  const resumed = isFirst ? await openResumed(asked) : undefined;
  const options = await shareJson(
    communicator,
    resumed ? parseOptions(args, resumed.options) : asked,
  );
  if (options.totalBatch < communicator.size * options.context) {
    throw new Error(
      `--total-batch: expected a sequence of ${options.context} tokens for each of ${communicator.size} ` +
        `ranks but got ${options.totalBatch}`,
    );
  }
  const device = await openChosenDevice(options, communicator);
  const tokenizer = new GPT2Tokenizer();
  const corpus = await openCorpus(options.data, tokenizer);
  using folder = isFirst ? resumed?.folder ?? await newFolder(options) : undefined;
  const path = await shareJson(communicator, folder?.path ?? "");

  const dtype = await shareJson(
    communicator,
    options.dtype === "auto" ? fasterDtype(device) : options.dtype,
  );
  const batch = options.batch ?? await chooseBatch(device, options, dtype, communicator);
  await using training = await Training.open({
    ...{ options, device, dtype, batch, communicator },
    data: corpus.train,
    separator: tokenizer.endOfText,
    checkpoint: resumed?.checkpoint,
  });
  const title = `${MODEL_NAMES[options.recipe]}, ${options.preset}: ${device.description}`;
  using report = isFirst
    ? await Report.open(path, title, training.step, resumed?.curves)
    : Report.silent(path);
  await using checks = await Checks.open(training.model, tokenizer, options, report, {
    data: corpus.validation,
    batch,
    communicator,
  });
  const processes = await communicator.gather(Float64Array.of(Deno.pid));
  report.begin(corpus.description, options, training.model, {
    dtype,
    batch: options.batch === undefined ? batch : undefined,
    from: resumed?.checkpoint,
    communicator,
    processes,
  });
  if (options.shardOptimizer) {
    const bytes = await communicator.gather(Float64Array.of(training.stateBytes));
    const all = formatBytes(bytes.reduce((sum, some) => sum + some, 0));
    report.line(
      `optimizer's state: ${formatBytes(Math.max(...bytes))} on a rank at most, ${all} on all`,
    );
  }
  using interrupt = new Interrupt((signal) => {
    if (isFirst) {
      console.error(`\n${signal}: finishing this step and saving; once more ends at once`);
    }
  });
  if (options.profile) device.profile(true);

  try {
    await run(options, training, checks, report, interrupt, communicator);
    if (training.saved !== training.step) await save(training, report);
  } catch (error) {
    throw await savedFailure(error as Error, training, report, communicator);
  }
  if (!isFirst) return;
  report.line(`loss curves: ${await report.draw()}; attention: ${path}/attention`);
  if (options.profile) report.line(formatTimings(await device.timings()));
  if (training.step < options.steps) {
    report.line(
      `stopped after step ${training.step} of ${options.steps}` +
        (training.step > 0 ? `; go on with --resume ${path}` : ""),
    );
    Deno.exitCode = interrupt.exitCode;
  }
}

/** Sequences of a micro-batch, where the command line names none. */
async function chooseBatch(
  device: Device,
  options: Options,
  dtype: "f32" | "f16",
  communicator: Communicator,
): Promise<number> {
  const { totalBatch, context, recompute } = options;
  const all = totalBatch / context;
  const { start, end } = shareOf(all, communicator);
  // A part of a step may end with a smaller micro-batch.
  const sequences = communicator.size === 1 ? all : 2 ** Math.floor(Math.log2(end - start));
  return await fittingBatch(device, sizesOf(options), { sequences, recompute, dtype });
}

/** The steps of the run, with what is due between them, until the last or a signal. */
async function run(
  options: Options,
  training: Training,
  checks: Checks,
  report: Report,
  interrupt: Interrupt,
  communicator: Communicator,
): Promise<void> {
  const plan = planOf(options, training.loader.batchSize, communicator.size);
  // Ranks end a check together, or not at all.
  const { signal } = communicator.size === 1 ? interrupt : new AbortController();
  const ranks = new Ranks(communicator);
  const first = training.step;
  let started = 0, told = 0;
  const tell = (outcomes: readonly StepOutcome[]) => {
    if (outcomes.length === 0) return;
    const now = performance.now();
    const seconds = (now - told) / 1000 / outcomes.length;
    told = now;
    for (const outcome of outcomes) {
      const perStep = (now - started) / 1000 / (training.step - first);
      report.step(options, outcome, { seconds, left: perStep * (options.steps - outcome.step) });
    }
  };
  try {
    if (first === 0) await checks.validate(0, signal);
    started = told = performance.now();
    while (training.launched < options.steps) {
      const { stops, warning } = await ranks.agree(interrupt.requested, training.computed);
      if (warning) report.line(warning);
      if (stops) break;
      tell(await takeStep(training, plan(training.launched + 1), options, report));
      const step = training.launched;
      if (!isMilestone(step, options) && !checks.isDue(step)) continue;
      await settle(training, tell);
      await training.meet();
      await checks.after(step, signal);
      if (isMilestone(step, options)) await save(training, report);
      told = performance.now();
    }
    await settle(training, tell);
  } catch (error) {
    if (error !== signal.reason) throw error; // a check that was not ended
  }
}

/** Waits for what is launched; throws what ended the run. */
async function settle(
  training: Training,
  tell: (outcomes: readonly StepOutcome[]) => void,
): Promise<void> {
  for (let some; (some = await training.settle()).length > 0;) tell(some);
}

/** A step, with a bar, or where there is no terminal now and then a line, of its sequences, speed and mean loss so far. */
async function takeStep(
  training: Training,
  plan: StepPlan,
  { context }: Options,
  report: Report,
): Promise<StepOutcome[]> {
  const label = `step ${training.launched + 1}`;
  const total = plan.sequences;
  const { start, end } = training.partOf(plan);
  const isFirst = start === 0;
  using bar = isFirst
    ? await openProgress({ label, total, unit: "sequences", lineEvery: 30 })
    : undefined;
  const started = performance.now();
  let [lastRead, loss] = [started, ""];
  return await training.next(plan, async (own, losses) => {
    if (!isFirst) return;
    // The other ranks are about as far.
    const done = Math.round(own * total / (end - start));
    const now = performance.now();
    if (now - lastRead > READ_EVERY && done < total) {
      lastRead = now;
      const values = await readTensors(losses);
      const mean = values.reduce((sum, [value]) => sum + value!, 0) / values.length;
      loss = `| loss ${mean.toFixed(6)} `;
    }
    const speed = Math.round(done * context / (now - started) * 1000).toLocaleString("en");
    bar?.update(done, `${loss}| ${speed} tokens/s`);
  }, (why) => report.line(why));
}

async function save(training: Training, report: Report): Promise<void> {
  report.line(`saved ${await training.save(report.folder, report.curves)}`);
}

/** Saves what was learned before a failure, and says in its error where that is. */
async function savedFailure(
  error: Error,
  training: Training,
  report: Report,
  { rank }: Communicator,
): Promise<Error> {
  let { message } = error;
  let cause = error;
  const canSave = isShared(error) || (rank === 0 && !training.savesTogether);
  if (canSave && training.step !== training.saved && !(error instanceof WeightsLostError)) {
    try {
      await training.save(report.folder, report.curves);
    } catch (second) {
      message += `; saving failed, too: ${(second as Error).message}`;
      cause = second as Error;
    }
  }
  const { step, saved } = training;
  message += saved === 0
    ? "; nothing is saved"
    : `; ${saved === step ? "everything before it" : `step ${saved}`} is in ${report.folder}. ` +
      `Go on with --resume ${report.folder}`;
  if (saved > 0 && error instanceof StepRefusedError) {
    message += " and --on-nan skip, --on-spike skip, or a lower --lr";
  }
  return new Error(message, { cause });
}

/** Whether all ranks meet an error in the same step. */
function isShared(error: unknown): boolean {
  return error instanceof StepRefusedError || error instanceof WeightsLostError;
}

/** The learning rate and the size of every step, counted from 1. */
function planOf(
  options: Options,
  microBatch: number,
  ranks: number,
): (step: number) => StepPlan {
  const { minLr, steps: totalSteps, warmup: warmupSteps, batchWarmup } = options;
  const shared = { maxLr: options.lr, minLr, warmupSteps, totalSteps };
  const lr = options.schedule === "cosine"
    ? warmupCosine(shared)
    : warmupStableDecay({ ...shared, decaySteps: options.cooldown! });
  const batchSize = options.totalBatch / options.context;
  const together = microBatch * ranks;
  const sequences = batchWarmup === 0 ? () => batchSize : batchSizeWarmup({
    batchSize,
    initialBatchSize: together,
    warmupSteps: batchWarmup,
    multipleOf: together,
  });
  return (step) => ({ lr: lr(step), sequences: sequences(step) });
}

/** f16 on a GPU that has it; a software adapter only emulates it. */
function fasterDtype(device: Device): "f16" | "f32" {
  const isGpu = device instanceof WebGpuDevice && !device.software;
  return isGpu && device.dtypes.has("f16") ? "f16" : "f32";
}
