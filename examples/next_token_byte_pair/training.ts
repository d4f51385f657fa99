/** The training state of one model, and its checkpoints. */
import {
  AdamW,
  checkpointExtra,
  type Device,
  type Json,
  loadNewestCheckpoint,
  RandomState,
  restoreRun,
  saveRun,
} from "../../mod.ts";
import { createModel, type Model, type ModelName } from "./models.ts";
import type { Options } from "./options.ts";
import type { Result } from "./report.ts";

/** The parts of a checkpoint that are not tensors. */
interface State {
  result: Result;
  epochSeconds: number;
}

/** A model with its optimizer, its random numbers, and its progress. */
export class Training implements Disposable {
  readonly name: ModelName;
  readonly folder: string;
  readonly model: Model;
  readonly optimizer: AdamW;
  readonly random: RandomState;
  /** The number of finished steps. */
  step = 0;
  /** Time spent on the steps of the current epoch. */
  epochSeconds = 0;
  result: Result;

  private constructor(
    name: ModelName,
    folder: string,
    vocabSize: number,
    options: Options,
    device: Device,
  ) {
    this.name = name;
    this.folder = folder;
    this.random = new RandomState(options.seed);
    this.model = createModel(name, vocabSize, options, { device, random: this.random });
    this.optimizer = new AdamW(this.model.parameters(), {
      betas: [0.9, 0.95],
      weightDecay: options.weightDecay,
    });
    const parameters = this.model.parameterCount();
    this.result = { model: name, parameters, epochs: [], seconds: 0 };
  }

  /** Creates a model, or restores the newest checkpoint in the folder. */
  static async open(
    name: ModelName,
    folder: string,
    vocabSize: number,
    options: Options,
    device: Device,
  ): Promise<Training> {
    const training = new Training(name, folder, vocabSize, options, device);
    const checkpoint = await loadNewestCheckpoint(folder, {
      onRefused: (error) => console.error(`${error.message}; trying the one before`),
    });
    if (checkpoint) {
      const extra = checkpointExtra(checkpoint, ["result"]);
      training.step = restoreRun(checkpoint, training).step;
      Object.assign(training, extra as unknown as State);
    }
    return training;
  }

  /** Writes a checkpoint; the previous one is kept until the next. */
  async save(): Promise<void> {
    const { result, epochSeconds } = this;
    const state: State = { result, epochSeconds };
    const extra = structuredClone(state) as unknown as Json;
    await saveRun(this.folder, this.step, this, { keep: 2, extra });
  }

  [Symbol.dispose](): void {
    this.optimizer[Symbol.dispose]();
    this.model.dispose();
  }
}
