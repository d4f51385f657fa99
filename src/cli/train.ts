/** `dinograd train`: trains GPT-2, as https://github.com/karpathy/build-nanogpt does, or by newer recipes. */
import {
  batchSizeWarmup,
  type Device,
  fittingBatch,
  formatTimings,
  GPT2Tokenizer,
  Interrupt,
  openProgress,
  readTensors,
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
import { Report, type StepOutcome } from "./train/report.ts";
import { type StepPlan, StepRefusedError, Training } from "./train/training.ts";

/** Milliseconds between two looks at the loss inside a step: each makes a GPU wait. */
const READ_EVERY = 2000;

/** Trains as the command line `args` says. */
export async function train(args: string[]): Promise<void> {
  const asked = parseOptions(args);
  const resumed = await openResumed(asked);
  const options = resumed ? parseOptions(args, resumed.options) : asked;
  const device = await openChosenDevice(options);
  const tokenizer = new GPT2Tokenizer();
  const corpus = await openCorpus(options.data, tokenizer);
  using folder = resumed?.folder ?? await newFolder(options);

  const dtype = options.dtype === "auto" ? fasterDtype(device) : options.dtype;
  const { recompute } = options;
  const sequences = options.totalBatch / options.context;
  const batch = options.batch ??
    await fittingBatch(device, sizesOf(options), { sequences, recompute, dtype });
  await using training = await Training.open({
    ...{ options, device, dtype, batch },
    data: corpus.train,
    separator: tokenizer.endOfText,
    checkpoint: resumed?.checkpoint,
  });
  const title = `${MODEL_NAMES[options.recipe]}, ${options.preset}: ${device.description}`;
  using report = await Report.open(folder.path, title, training.step, resumed?.curves);
  await using checks = await Checks.open(training.model, tokenizer, options, report, {
    data: corpus.validation,
    batch,
  });
  report.begin(corpus.description, options, training.model, {
    dtype,
    batch: options.batch === undefined ? batch : undefined,
    from: resumed?.checkpoint,
  });
  using interrupt = new Interrupt((signal) =>
    console.error(`\n${signal}: finishing this step and saving; once more ends at once`)
  );
  if (options.profile) device.profile(true);

  try {
    await run(options, training, checks, report, interrupt);
    if (training.saved !== training.step) await save(training, report);
  } catch (error) {
    throw await savedFailure(error as Error, training, report);
  }
  report.line(`loss curves: ${await report.draw()}; attention: ${folder.path}/attention`);
  if (options.profile) report.line(formatTimings(await device.timings()));
  if (training.step < options.steps) {
    report.line(
      `stopped after step ${training.step} of ${options.steps}` +
        (training.step > 0 ? `; go on with --resume ${folder.path}` : ""),
    );
    Deno.exitCode = interrupt.exitCode;
  }
}

/** The steps of the run, with what is due between them, until the last or a signal. */
async function run(
  options: Options,
  training: Training,
  checks: Checks,
  report: Report,
  interrupt: Interrupt,
): Promise<void> {
  const plan = planOf(options, training.loader.batchSize);
  const { signal } = interrupt;
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
    while (training.launched < options.steps && !interrupt.requested) {
      tell(await takeStep(training, plan(training.launched + 1), options, report));
      const step = training.launched;
      if (!isMilestone(step, options) && !checks.isDue(step)) continue;
      await settle(training, tell);
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
  using bar = await openProgress({ label, total, unit: "sequences", lineEvery: 30 });
  const started = performance.now();
  let [lastRead, loss] = [started, ""];
  return await training.next(plan, async (done, losses) => {
    const now = performance.now();
    if (now - lastRead > READ_EVERY && done < total) {
      lastRead = now;
      const values = await readTensors(losses);
      const mean = values.reduce((sum, [value]) => sum + value, 0) / values.length;
      loss = `| loss ${mean.toFixed(6)} `;
    }
    const speed = Math.round(done * context / (now - started) * 1000).toLocaleString("en");
    bar.update(done, `${loss}| ${speed} tokens/s`);
  }, (why) => report.line(why));
}

async function save(training: Training, report: Report): Promise<void> {
  report.line(`saved ${await training.save(report.folder, report.curves)}`);
}

/** Saves what was learned before a failure, and says in its error where that is. */
async function savedFailure(error: Error, training: Training, report: Report): Promise<Error> {
  let message = error.message;
  if (training.step !== training.saved && !(error instanceof WeightsLostError)) {
    try {
      await training.save(report.folder, report.curves);
    } catch (second) {
      message += `; saving failed, too: ${(second as Error).message}`;
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
  return new Error(message, { cause: error });
}

/** The learning rate and the size of every step, counted from 1. */
function planOf(options: Options, microBatch: number): (step: number) => StepPlan {
  const { minLr, steps: totalSteps, warmup: warmupSteps, batchWarmup } = options;
  const shared = { maxLr: options.lr, minLr, warmupSteps, totalSteps };
  const lr = options.schedule === "cosine"
    ? warmupCosine(shared)
    : warmupStableDecay({ ...shared, decaySteps: options.cooldown! });
  const sequences = batchSizeWarmup({
    batchSize: options.totalBatch / options.context,
    initialBatchSize: microBatch,
    warmupSteps: batchWarmup,
    multipleOf: microBatch,
  });
  return (step) => ({ lr: lr(step), sequences: sequences(step) });
}

/** f16 on a GPU that has it; a software adapter only emulates it. */
function fasterDtype(device: Device): "f16" | "f32" {
  const isGpu = device instanceof WebGpuDevice && !device.software;
  return isGpu && device.dtypes.has("f16") ? "f16" : "f32";
}
