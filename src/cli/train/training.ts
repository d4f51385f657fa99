/** A GPT-2 in training. Between two calls it always stands between two steps, so that it can be saved. */
import {
  AdamW,
  batchTensors,
  checkGradNorm,
  type Checkpoint,
  clipGradNorm,
  type Device,
  GPT2,
  type GPT2Config,
  LossScaler,
  mul,
  OutOfMemoryError,
  RandomState,
  type RandomStateJson,
  readTensors,
  restoreRun,
  saveRun,
  Scope,
  StepGuard,
  type StepGuardState,
  type Tensor,
  TokenLoader,
  type TokenLoaderState,
  yieldToEventLoop,
} from "../../../mod.ts";
import type { Corpus } from "./corpus.ts";
import type { Options } from "./options.ts";
import type { Curves, StepOutcome } from "./report.ts";

/** Is told after each micro-batch how many sequences of the step are done, and the micro-batches' losses. */
type OnProgress = (sequences: number, losses: readonly Tensor[]) => Promise<void>;

/** The guard ended the run at a step, whose update was not made. */
export class StepRefusedError extends Error {
  override readonly name = "StepRefusedError";
}

/** What {@linkcode Training.open} is given. */
export interface TrainingSetup {
  readonly options: Options;
  readonly config: GPT2Config;
  readonly device: Device;
  readonly dtype: "f32" | "f16";
  /** Sequences of a micro-batch. */
  readonly batch: number;
  readonly data: Corpus["train"];
  /** The token that documents begin with, for a shuffled order. */
  readonly separator: number;
  readonly checkpoint?: Checkpoint | undefined;
}

/** What a step must put back where it fails; its update comes last. */
interface Position {
  readonly loader: TokenLoaderState;
  readonly random: RandomStateJson;
  readonly guard: StepGuardState;
}

/** A model, its optimizer, the data, the random numbers, and how far they have come. */
export class Training implements AsyncDisposable {
  readonly model: GPT2;
  readonly optimizer: AdamW;
  readonly scaler: LossScaler | undefined;
  readonly random: RandomState;
  readonly guard: StepGuard;
  readonly #setup: TrainingSetup;
  #loader: TokenLoader;
  #step = 0;
  #saved = 0;

  private constructor(setup: TrainingSetup, loader: TokenLoader) {
    const { options, config, device, dtype } = setup;
    this.#setup = setup;
    this.#loader = loader;
    this.random = new RandomState(options.seed);
    this.model = new GPT2(config, { device, dtype, random: this.random });
    this.optimizer = new AdamW(this.model.parameters(), {
      betas: [0.9, 0.95],
      weightDecay: options.weightDecay,
    });
    this.scaler = dtype === "f16" ? new LossScaler(device) : undefined;
    const { onNan, spike, onSpike } = options;
    this.guard = new StepGuard({ onNaN: onNan, spike, onSpike });
  }

  /** A new model, or the one of a checkpoint. */
  static async open(setup: TrainingSetup): Promise<Training> {
    const training = new Training(setup, await openLoader(setup, setup.batch));
    if (setup.checkpoint) {
      const { step, extra } = restoreRun(setup.checkpoint, training);
      training.#step = training.#saved = step;
      const { guard } = extra as unknown as { guard?: StepGuardState };
      if (guard) training.guard.restore(guard);
    }
    return training;
  }

  /** Steps done. */
  get step(): number {
    return this.#step;
  }

  /** The step of the newest checkpoint; 0 where there is none. */
  get saved(): number {
    return this.#saved;
  }

  /** Where the data stands. */
  get loader(): TokenLoader {
    return this.#loader;
  }

  /**
   * Takes a step. Where that fails, all is as it was before: a `StepRefusedError` where the guard wants the run to end, and
   * what reading the data or the device throws. A micro-batch that was chosen by itself is halved where the device has
   * no room for it; `onHalved` is told.
   */
  async next(
    lr: number,
    onProgress: OnProgress,
    onHalved: (why: string) => void,
  ): Promise<StepOutcome> {
    const before = this.#position();
    for (;;) {
      try {
        const outcome = await this.#attempt(lr, onProgress);
        this.#step++;
        return outcome;
      } catch (error) {
        this.#rewind(before);
        const { batchSize } = this.#loader;
        const mayHalve = this.#setup.options.batch === undefined && batchSize > 1;
        if (!(error instanceof OutOfMemoryError) || !mayHalve) throw error;
        await this.#loader.close();
        this.#loader = await openLoader(this.#setup, batchSize / 2);
        this.#loader.restore(before.loader);
        onHalved(`${error.message}; going on with ${batchSize / 2} sequences at a time`);
      }
    }
  }

  /** Writes a checkpoint into a folder; returns its path. */
  async save(folder: string, curves: Curves): Promise<string> {
    const { options, dtype } = this.#setup;
    const extra = {
      options: { ...options, dtype },
      curves: { ...curves },
      guard: { ...this.guard.state() },
    };
    const path = await saveRun(folder, this.#step, this, { keep: options.keep, extra });
    this.#saved = this.#step;
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loader.close();
    this.optimizer[Symbol.dispose]();
    this.model.dispose();
  }

  /** Forward and backward; one wait for the loss and the gradients' norm, which decide on the update. */
  async #attempt(
    lr: number,
    onProgress: OnProgress,
  ): Promise<StepOutcome> {
    const { model, optimizer, scaler, random } = this;
    const { clip, totalBatch, context, recompute } = this.#setup.options;
    const parameters = model.parameters();
    using scope = new Scope();
    const microSteps = totalBatch / this.#loader.batchTokens;
    const losses: Tensor[] = [];
    for (let micro = 0; micro < microSteps; micro++) {
      const tokens = await this.#loader.next();
      await yieldToEventLoop();
      using _micro = new Scope();
      const shape = [this.#loader.batchSize, context] as const;
      const { ids, targets } = batchTensors(tokens, shape, model.device);
      const loss = model.loss(ids, targets, { dropout: random, recompute });
      loss.backward(scaler ? mul(scaler.scale, 1 / microSteps) : 1 / microSteps);
      loss.moveTo(scope);
      losses.push(loss);
      await onProgress((micro + 1) * this.#loader.batchSize, losses);
    }
    const { norm, factor } = clipGradNorm(parameters, clip, { scaler });
    const [[gradNorm = NaN], ...values] = await readTensors([norm, ...losses]);
    const loss = values.reduce((sum, [loss]) => sum + loss!, 0) / microSteps;
    const verdict = this.guard.judge(loss, gradNorm, scaler !== undefined);
    if (verdict.action === "stop") {
      const culprit = await checkGradNorm(gradNorm, parameters).catch((error: Error) =>
        error.message
      );
      throw new StepRefusedError(`step ${this.#step + 1}: ${culprit ?? verdict.warning}`);
    }
    if (verdict.action === "apply") optimizer.step({ lr, gradScale: factor });
    scaler?.update(factor);
    optimizer.zeroGrad();
    return { loss, gradNorm, verdict };
  }

  #position(): Position {
    return {
      loader: this.#loader.state(),
      random: this.random.state(),
      guard: this.guard.state(),
    };
  }

  #rewind(to: Position): void {
    this.#loader.restore(to.loader);
    this.random.restore(to.random);
    this.guard.restore(to.guard);
    this.optimizer.zeroGrad();
  }
}

function openLoader(setup: TrainingSetup, batchSize: number): Promise<TokenLoader> {
  const { options, config, data, separator } = setup;
  return TokenLoader.open(data, {
    batchSize,
    contextSize: options.context,
    vocabSize: config.vocabSize,
    shuffle: options.shuffle ? { seed: options.seed, separator } : undefined,
  });
}
