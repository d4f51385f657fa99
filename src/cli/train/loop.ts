/** The steps of a run: what is due between them, what is told of them, and how it ends. */
import {
  type Communicator,
  type Device,
  formatBytes,
  formatTimings,
  Interrupt,
  openProgress,
  readTensors,
  shareJson,
  TimeLeft,
} from "../../../mod.ts";
import { type Checks, WeightsLostError } from "./checks.ts";
import { Ranks } from "./ranks.ts";
import type { Report, StepOutcome, StepPlan } from "./report.ts";
import { StepRefusedError, type Training } from "./training.ts";

/** Milliseconds between two looks at the loss inside a step: each makes a GPU wait. */
const READ_EVERY = 2000;
/** The time left is estimated from about so many steps: validations are spread over them. */
const RECENT_STEPS = 300;

/** A run that is ready to begin or to go on. */
export interface Run {
  readonly device: Device;
  readonly training: Training;
  readonly checks: Checks;
  readonly report: Report;
  /** The ranks that train together. */
  readonly communicator: Communicator;
  /** Steps in all. */
  readonly steps: number;
  /** What each of them is, counted from 1. */
  readonly plan: (step: number) => StepPlan;
  /** Whether a step is followed by validation, samples and a checkpoint. */
  readonly isMilestone: (step: number) => boolean;
  /** Whether the time in each kernel is measured. */
  readonly profile?: boolean | undefined;
  /** Is called after each checkpoint. */
  readonly onSaved?: () => Promise<void>;
}

/** Trains to the last step or to a signal, whose exit code the process then gets; saves, also where something fails. */
export async function finishRun(run: Run): Promise<void> {
  const { device, training, report, steps, profile, communicator } = run;
  const isFirst = communicator.rank === 0;
  using interrupt = new Interrupt((signal) => {
    if (isFirst) {
      console.error(
        `\n${signal}: finishing this step and saving; interrupt again to exit immediately`,
      );
    }
  });
  if (profile) device.profile(true);
  const { bytes } = communicator;
  const { step } = training;
  if (isFirst && step >= steps) {
    report.line(`nothing to do: the run has taken all of its ${steps} steps`);
  }
  let isWhole = false;
  try {
    isWhole = await takeSteps(run, interrupt);
    if (training.saved !== training.step) await save(run);
    // A process that was killed may have saved without coming to this.
    else if (training.step === step && isFirst) await run.onSaved?.();
  } catch (error) {
    throw await savedFailure(error as Error, training, report, communicator);
  }
  if (!isFirst) return;
  if (report.curves.validation.length > 0) { // a signal may have come before there was any
    report.line(`loss curves: ${await report.draw()}; attention: ${report.folder}/attention`);
  }
  if (communicator.size > 1) {
    const exchanged = formatBytes(communicator.bytes - bytes);
    report.line(`each rank exchanged ${exchanged} in ${training.step - step} steps`);
  }
  if (profile) report.line(formatTimings(await device.timings()));
  if (!isWhole) {
    report.line(
      `stopped after step ${training.step} of ${steps}` +
        (training.step > 0 ? `; resume with --resume ${report.folder}` : ""),
    );
    Deno.exitCode = interrupt.exitCode;
  }
}

/** The steps of the run, with what is due between them; returns whether it came to the end, without a signal. */
async function takeSteps(run: Run, interrupt: Interrupt): Promise<boolean> {
  const { training, checks, report, steps, plan, isMilestone, communicator } = run;
  const context = training.loader.contextSize;
  // Ranks end a check together, or not at all.
  const { signal } = communicator.size === 1 ? interrupt : new AbortController();
  const ranks = new Ranks(communicator);
  const first = training.step;
  let timeLeft = new TimeLeft(), told = 0;
  const tell = (outcomes: readonly StepOutcome[]) => {
    if (outcomes.length === 0) return;
    const now = performance.now();
    const seconds = (now - told) / 1000 / outcomes.length;
    told = now;
    const left = timeLeft.after(training.step, steps);
    for (const outcome of outcomes) {
      report.step({ steps, context }, outcome, { seconds, left });
    }
  };
  try {
    if (first === 0) await checks.begin(signal);
    else if (isMilestone(first) && !await isValidated(run, first)) {
      await checks.after(first, true, signal); // a signal has ended these
      await save(run);
    }
    timeLeft = new TimeLeft(first, RECENT_STEPS);
    told = performance.now();
    while (training.launched < steps) {
      const { stops, warning } = await ranks.agree(interrupt.requested, training.computed);
      if (warning) report.line(warning);
      if (stops) break;
      tell(await takeStep(training, plan(training.launched + 1), report));
      const step = training.launched;
      if (!isMilestone(step) && !checks.isDue(step)) continue;
      await settle(training, tell);
      await training.meet();
      await checks.after(step, isMilestone(step), signal);
      if (isMilestone(step)) await save(run);
      told = performance.now();
    }
    await settle(training, tell);
    return training.step >= steps;
  } catch (error) {
    if (error !== signal.reason) throw error; // a check that was not ended
    return false;
  }
}

/** Whether rank 0, which keeps the curves, has the validation loss after a step. */
async function isValidated({ communicator, report }: Run, step: number): Promise<boolean> {
  const isThere = report.curves.validation.some(([validated]) => validated === step);
  return await shareJson(communicator, isThere);
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
    const speed = Math.round(done * training.loader.contextSize / (now - started) * 1000)
      .toLocaleString("en");
    bar?.update(done, `${loss}| ${speed} tokens/s`);
  }, (why) => report.line(why));
}

async function save({ training, report, communicator, onSaved }: Run): Promise<void> {
  report.line(`saved ${await training.save(report.folder, report.curves)}`);
  if (communicator.rank === 0) await onSaved?.();
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
      message += `; saving also failed: ${(second as Error).message}`;
      cause = second as Error;
    }
  }
  const { step, saved } = training;
  message += saved === 0
    ? "; nothing was saved"
    : `; ${
      saved === step ? "all steps before it are" : `step ${saved} is`
    } saved in ${report.folder}. ` +
      `Resume with --resume ${report.folder}`;
  if (saved > 0 && error instanceof StepRefusedError) {
    message += " and --on-nan skip, --on-spike skip, or a lower --lr";
  }
  return new Error(message, { cause });
}

/** Whether all ranks meet an error in the same step. */
export function isShared(error: unknown): boolean {
  return error instanceof StepRefusedError || error instanceof WeightsLostError;
}
