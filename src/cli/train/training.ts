/** A model in training. Once it is settled it stands between two steps, so that it can be saved. */
import {
  type Batch,
  type BatchLoader,
  batchTensors,
  checkGradNorm,
  type Checkpoint,
  clipGradNorm,
  type Communicator,
  type Device,
  DeviceStepGuard,
  LossScaler,
  mul,
  type Optimizer,
  OutOfMemoryError,
  RandomState,
  type RandomStateJson,
  readTensors,
  restoreRun,
  saveRun,
  Scope,
  shareJson,
  shareOf,
  StepGuard,
  type StepGuardState,
  type Tensor,
  type TokenLoaderState,
  type TrainingRun,
  type TypedArray,
  yieldToEventLoop,
  zeroGrad,
} from "../../../mod.ts";
import type { Options } from "./options.ts";
import type { Curves, StepOutcome, StepPlan } from "./report.ts";
import type { Task } from "./task.ts";
import { Teamwork } from "./teamwork.ts";

/** Is told after each micro-batch how many of the step's sequences this rank has done, and the micro-batches' losses. */
type OnProgress = (sequences: number, losses: readonly Tensor[]) => Promise<void>;

/** The guard ended the run at a step, whose update was not made. */
export class StepRefusedError extends Error {
  override readonly name = "StepRefusedError";
}

/** The options that {@linkcode Training} goes by; a checkpoint keeps them with whatever else is there. */
export type TrainingOptions =
  & Pick<Options, "seed" | "recompute" | "clip" | "onNan" | "spike" | "onSpike">
  & Pick<Options, "keep" | "wire" | "shardOptimizer" | "diloco">;

/** What {@linkcode Training.open} is given. */
export interface TrainingSetup {
  readonly options: TrainingOptions;
  readonly device: Device;
  readonly dtype: "f32" | "f16";
  /** Sequences of a micro-batch. */
  readonly batch: number;
  /** Whether a micro-batch that does not fit into memory is halved. */
  readonly mayHalve: boolean;
  /** Makes what is trained; what is drawn comes from `random`. */
  readonly task: (random: RandomState) => Task;
  /** Only rank 0 needs it. */
  readonly checkpoint?: Checkpoint | undefined;
  /** The ranks that train together. */
  readonly communicator: Communicator;
}

/** Where a step begins. */
interface Position {
  readonly loader: TokenLoaderState;
  readonly random: RandomStateJson;
}

/** A step that is launched: its numbers are still on the device. */
interface LaunchedStep {
  readonly plan: StepPlan;
  readonly begin: Position;
  readonly norm: Tensor;
  readonly losses: readonly Tensor[];
  readonly shares: readonly number[];
}

/** The micro-batches of this rank's part of a step. */
interface MicroBatches {
  /** Rows of each. */
  readonly rows: readonly number[];
  /** The part that each has in the mean loss of the step. */
  readonly shares: readonly number[];
  /** What the gradients of each are multiplied with. */
  readonly weights: readonly number[];
  /** Gives them one by one. */
  readonly next: (rows: number) => Promise<Batch>;
}

/** Numbers are read when this many milliseconds have passed, or so many steps: a read makes a GPU wait for 12 ms. */
const READ_EVERY = 500, MOST_UNREAD = 16;

/** A task, its optimizer, the data, the random numbers, and how far they have come. */
export class Training implements AsyncDisposable {
  readonly task: Task;
  readonly optimizer: Optimizer;
  readonly scaler: LossScaler | undefined;
  readonly random: RandomState;
  readonly guard: StepGuard;
  readonly #setup: TrainingSetup;
  readonly #deviceGuard: DeviceStepGuard;
  readonly #team: Teamwork;
  #loader: BatchLoader;
  #step = 0;
  #saved = 0;
  #computed = 0;
  #unread: LaunchedStep[] = [];
  #lastRead = 0;
  /** What ended the run, after steps whose outcomes are told first. */
  #failure: Error | undefined;
  /** Whether a step of this size went well: until then the device may tell late that it has no room. */
  #isTried = false;
  /** Whether the device failed in steps that had their update launched. */
  #isLost = false;

  private constructor(setup: TrainingSetup, task: Task, random: RandomState, loader: BatchLoader) {
    const { options, device, dtype } = setup;
    this.#setup = setup;
    this.#loader = loader;
    this.random = random;
    this.task = task;
    this.#team = new Teamwork(setup.communicator, this.model.parameters(), options);
    this.optimizer = task.createOptimizer(this.#team.own);
    this.scaler = dtype === "f16" ? new LossScaler(device) : undefined;
    const { onNan, spike, onSpike } = options;
    this.guard = new StepGuard({ onNaN: onNan, spike, onSpike });
    this.#deviceGuard = new DeviceStepGuard(device, { onNaN: onNan });
  }

  /** A new model, or the one of a checkpoint. */
  static async open(setup: TrainingSetup): Promise<Training> {
    const random = new RandomState(setup.options.seed);
    const task = setup.task(random);
    const training = new Training(setup, task, random, await task.openBatches(setup.batch));
    if (setup.checkpoint) {
      const { model, scaler, loader, random } = training;
      const optimizer = training.#team.restoring(training.optimizer);
      const run = { model, optimizer, scaler, loader, random };
      const { step, extra } = restoreRun(setup.checkpoint, run);
      training.#step = training.#saved = step;
      const { guard } = extra as unknown as { guard?: StepGuardState };
      if (guard) training.guard.restore(guard);
    }
    await training.#followRank0();
    training.#deviceGuard.reset(training.guard.state().skipped);
    return training;
  }

  /** Steps done whose outcome is known. */
  get step(): number {
    return this.#step;
  }

  /** Steps launched. */
  get launched(): number {
    return this.#step + this.#unread.length;
  }

  /** The step of the newest checkpoint; 0 where there is none. */
  get saved(): number {
    return this.#saved;
  }

  /** Milliseconds that this rank took for the gradients of the last step, the waiting for others left out. */
  get computed(): number {
    return this.#computed;
  }

  /** Bytes of the optimizer's state on this rank. */
  get stateBytes(): number {
    return [...this.optimizer.state().values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Whether all ranks have to take part where a checkpoint is written. */
  get savesTogether(): boolean {
    return this.#team.savesTogether;
  }

  /** What is updated. */
  get model(): TrainingRun["model"] {
    return this.task.trained;
  }

  /** Where the data stands. */
  get loader(): BatchLoader {
    return this.#loader;
  }

  /**
   * Launches a step, and tells the outcomes of those that are known by now: of this one at once where reading costs
   * nothing or its loss decides on its update, else some steps later. What fails leaves everything as it was before the
   * step that failed: a `StepRefusedError` where the guard wants the run to end, and what reading the data or the device
   * throws. `onHalved` is told if the micro-batch is halved.
   */
  async next(
    plan: StepPlan,
    onProgress: OnProgress,
    onHalved: (why: string) => void,
  ): Promise<StepOutcome[]> {
    const outcomes: StepOutcome[] = [];
    for (;;) {
      if (this.#failure) throw this.#failure;
      const begin = this.#position();
      try {
        const outcome = await this.#launch(begin, plan, onProgress);
        if (!outcome) break;
        this.#step++;
        return [...outcomes, outcome];
      } catch (error) {
        this.#rewind(begin);
        outcomes.push(...await this.settle());
        const { batchSize } = this.#loader;
        // Not where other ranks wait for the sums of gradients that this one has begun to send.
        const mayHalve = this.#setup.mayHalve && batchSize % 2 === 0 &&
          this.#team.isAlone;
        if (!(error instanceof OutOfMemoryError) || !mayHalve) {
          if (outcomes.length === 0) throw error;
          this.#failure = error as Error;
          return outcomes;
        }
        await this.#loader.close();
        this.#loader = await this.task.openBatches(batchSize / 2);
        this.#loader.restore(begin.loader);
        this.#isTried = false;
        onHalved(`${error.message}; continuing with micro-batches of ${batchSize / 2} sequences`);
      }
    }
    const isDue = this.#unread.length >= MOST_UNREAD ||
      performance.now() - this.#lastRead > READ_EVERY;
    return isDue ? [...outcomes, ...await this.settle()] : outcomes;
  }

  /** Waits for the steps launched, and tells their outcomes in order. What ended the run is thrown by the call after that. */
  async settle(): Promise<StepOutcome[]> {
    const outcomes: StepOutcome[] = [];
    const unread = this.#unread;
    this.#unread = [];
    const values = await this.#read(unread);
    for (const [i, step] of unread.entries()) {
      const [norm, ...losses] = values[i]!;
      const loss = meanLoss(step.shares, losses);
      const outcome = this.#check(step.plan, norm![0]!, loss);
      if (outcome.verdict.action === "stop") {
        this.#failure = await this.#takeBack(step, outcome);
        break;
      }
      this.#step++;
      outcomes.push(outcome);
    }
    if (outcomes.length === 0 && this.#failure) throw this.#failure;
    return outcomes;
  }

  /** The norm and the losses of each step, which are disposed of. */
  async #read(steps: readonly LaunchedStep[]): Promise<TypedArray[][]> {
    const tensors = steps.flatMap(({ norm, losses }) => [norm, ...losses]);
    try {
      const values = tensors.length > 0 ? await readTensors(tensors) : [];
      return steps.map(({ losses }) => values.splice(0, 1 + losses.length));
    } catch (error) {
      this.#isLost = true;
      throw error;
    } finally {
      tensors.forEach((tensor) => tensor.dispose());
      this.#lastRead = performance.now();
    }
  }

  /** Makes the weights of all ranks the same, as before one of them is looked at. */
  async meet(): Promise<void> {
    await this.#team.settle();
  }

  /** Writes a checkpoint into a folder, on rank 0; returns its path. */
  async save(folder: string, curves: Curves): Promise<string> {
    if (this.#unread.length > 0) await this.settle();
    if (this.#isLost) throw new Error("the device failed during earlier steps");
    const { options, dtype } = this.#setup;
    const extra = {
      options: { ...options, dtype },
      curves: { ...curves },
      guard: { ...this.guard.state() },
    };
    await this.meet();
    const optimizer = await this.#team.saved(this.optimizer);
    const { model, scaler, loader, random } = this;
    const run = { model, optimizer, scaler, loader, random };
    const isFirst = this.#setup.communicator.rank === 0;
    const path = isFirst && await saveRun(folder, this.#step, run, { keep: options.keep, extra });
    this.#saved = this.#step;
    return path || folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loader.close();
    this.#team[Symbol.dispose]();
    this.optimizer[Symbol.dispose]();
    this.#deviceGuard[Symbol.dispose]();
    this.task[Symbol.dispose]();
  }

  /**
   * Puts all ranks where rank 0 is. Random numbers are those of another stream on each: what dropout leaves out of one
   * part of a batch has nothing to do with the other parts.
   */
  async #followRank0(): Promise<void> {
    const { communicator } = this.#setup;
    const [step, { loader, random }, guard] = await shareJson(
      communicator,
      [this.#step, this.#position(), this.guard.state()] as const,
    );
    this.#step = this.#saved = step;
    this.guard.restore(guard);
    this.#loader.restore(loader);
    this.random.restore({ ...random, seed: random.seed + communicator.rank * 2 ** 32 });
    const others = this.scaler?.state().values() ?? [];
    await this.#team.follow(this.optimizer, others, step > 0);
  }

  /**
   * Whether the loss is read before the update: where that costs nothing, where running figures decide, and where the ranks
   * have to decide the same.
   */
  get #checksFirst(): boolean {
    const { device, options: { spike = Infinity, onSpike } } = this.#setup;
    return device.kind === "cpu" || !this.#team.isAlone || !this.#isTried ||
      (spike < Infinity && onSpike !== "warn");
  }

  /** Forward, backward and update. Waits only where the loss decides on the update, and then tells the outcome. */
  async #launch(
    begin: Position,
    plan: StepPlan,
    onProgress: OnProgress,
  ): Promise<StepOutcome | undefined> {
    const { optimizer, scaler } = this;
    const { lr } = plan;
    const parameters = this.model.parameters();
    const checksFirst = this.#checksFirst;
    using scope = new Scope();
    const begun = performance.now();
    const { losses, shares } = await this.#backward(plan, scope, onProgress);
    this.#computed = performance.now() - begun;
    await this.#team.finish();
    const { norm, factor } = clipGradNorm(parameters, this.#setup.options.clip, { scaler });
    if (!checksFirst) {
      const isScaled = scaler !== undefined;
      const gradScale = this.#deviceGuard.check({ losses, norm, factor, isScaled });
      optimizer.step({ lr, gradScale, checked: true });
      scaler?.update(factor, this.#deviceGuard.halted);
      optimizer.zeroGrad();
      this.#unread.push({
        ...{ plan, begin, shares, norm: norm.keep() },
        losses: losses.map((one) => one.keep()),
      });
      return undefined;
    }
    const [[ownNorm], ...values] = await readTensors([norm, ...losses]);
    const { loss, gradNorm } = await this.#team.agree(meanLoss(shares, values), ownNorm!);
    const outcome = this.#check(plan, gradNorm, loss);
    if (outcome.verdict.action === "stop") {
      throw await refusal(outcome, parameters);
    }
    if (outcome.verdict.action === "apply") optimizer.step({ lr, gradScale: factor });
    await this.#team.updated();
    scaler?.update(factor);
    zeroGrad(parameters);
    this.#isTried = true;
    this.#deviceGuard.reset(this.guard.state().skipped);
    return outcome;
  }

  /** The gradients of this rank's part of a step, and the losses of its micro-batches, which `scope` owns. */
  async #backward(
    plan: StepPlan,
    scope: Scope,
    onProgress: OnProgress,
  ): Promise<{ losses: Tensor[]; shares: readonly number[] }> {
    const { task, scaler, random } = this;
    const { device, options: { recompute } } = this.#setup;
    const loader = this.#loader;
    const { position } = loader.state();
    const { contextSize } = loader;
    const { start } = this.partOf(plan);
    loader.seek(position + start * contextSize);
    const { rows, shares, weights, next } = await this.#microBatches(plan);
    const losses: Tensor[] = [];
    let done = 0;
    for (const [i, count] of rows.entries()) {
      const tokens = await next(count);
      await yieldToEventLoop();
      using _micro = new Scope();
      const { ids, targets, positions } = batchTensors(tokens, [count, contextSize], device);
      if (i === rows.length - 1) this.#team.begin();
      const factor = scaler ? mul(scaler.scale, weights[i]!) : weights[i]!;
      const pass = { positions, dropout: random, recompute };
      const loss = task.backward(ids, targets, factor, pass);
      loss.moveTo(scope);
      losses.push(loss);
      await onProgress(done += count, losses);
    }
    loader.seek(position + plan.sequences * contextSize);
    return { losses, shares };
  }

  /** The sequences of a step that fall to this rank. */
  partOf({ sequences }: StepPlan): { start: number; end: number } {
    return shareOf(sequences, this.#setup.communicator);
  }

  async #microBatches(plan: StepPlan): Promise<MicroBatches> {
    const { task } = this;
    const { start, end } = this.partOf(plan);
    const { batchSize } = this.#loader;
    const rows = Array.from(
      { length: Math.ceil((end - start) / batchSize) },
      (_, i) => Math.min(batchSize, end - start - i * batchSize),
    );
    if (!task.count) {
      const divisor = this.#team.sumsGradients ? plan.sequences : end - start;
      return {
        rows,
        shares: rows.map((count) => count / plan.sequences),
        weights: rows.map((count) => count / divisor),
        next: (count) => this.#loader.next(count),
      };
    }
    const batches: Batch[] = [];
    for (const count of rows) batches.push(await this.#loader.next(count));
    const counts = batches.map((batch) => task.count!(batch));
    const total = counts.reduce((a, b) => a + b);
    const shares = counts.map((count) => count / total);
    return { rows, shares, weights: shares, next: () => Promise.resolve(batches.shift()!) };
  }

  /** What the guard makes of the numbers of the next step. */
  #check(plan: StepPlan, gradNorm: number, loss: number): StepOutcome {
    const before = this.guard.state();
    const verdict = this.guard.check(loss, gradNorm, this.scaler !== undefined);
    if (verdict.action === "stop") this.guard.restore(before);
    return { step: this.#step + 1, plan, loss, gradNorm, verdict };
  }

  /**
   * The error for a step that the device has left out, like all after it: the weights are those before it. The data and the
   * random numbers are put back to there, and its gradients, which are gone, are computed again to name the culprit.
   */
  async #takeBack({ begin, plan }: LaunchedStep, outcome: StepOutcome): Promise<StepRefusedError> {
    this.#rewind(begin);
    using scope = new Scope();
    if (!Number.isFinite(outcome.gradNorm)) await this.#backward(plan, scope, async () => {});
    const error = await refusal(outcome, this.model.parameters());
    this.#rewind(begin);
    this.#deviceGuard.reset(this.guard.state().skipped);
    return error;
  }

  #position(): Position {
    return { loader: this.#loader.state(), random: this.random.state() };
  }

  #rewind(to: Position): void {
    this.#loader.restore(to.loader);
    this.random.restore(to.random);
    zeroGrad(this.model.parameters());
  }
}

/** What this rank's part of a step contributes to the mean loss: all of it where there is one rank. */
function meanLoss(shares: readonly number[], losses: readonly TypedArray[]): number {
  return losses.reduce((sum, [loss], i) => sum + loss! * shares[i]!, 0);
}

/** Says why the run ends at a step, whose gradients are there. */
async function refusal(
  { step, gradNorm, verdict }: StepOutcome,
  parameters: ReadonlyMap<string, Tensor>,
): Promise<StepRefusedError> {
  const culprit = await checkGradNorm(gradNorm, parameters).catch((error: Error) => error.message);
  return new StepRefusedError(`step ${step}: ${culprit ?? verdict.warning}`);
}
