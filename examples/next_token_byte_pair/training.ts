/** One model in training: what a checkpoint keeps of it. */
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
import type { Result, Score } from "./report.ts";

/** Sums over some predictions. */
export interface Sums {
  loss: number;
  correct: number;
  tokens: number;
}

/** No predictions. */
export const NOTHING: Sums = { loss: 0, correct: 0, tokens: 0 };

/** The sums with one batch more, of which the mean loss is known. */
export function withBatch(sums: Sums, loss: number, correct: number, tokens: number): Sums {
  return {
    loss: sums.loss + loss * tokens,
    correct: sums.correct + correct,
    tokens: sums.tokens + tokens,
  };
}

/** Mean loss and accuracy. */
export function scoreOf({ loss, correct, tokens }: Sums): Score {
  return { loss: loss / tokens, accuracy: correct / tokens };
}

/** The parts of a checkpoint that are no tensors. */
interface State {
  result: Result;
  sums: Sums;
  epochSeconds: number;
}

/** A model with its optimizer, its random numbers, and how far it has come. */
export class Training implements Disposable {
  readonly name: ModelName;
  readonly folder: string;
  readonly model: Model;
  readonly optimizer: AdamW;
  readonly random: RandomState;
  /** Steps done. */
  step = 0;
  /** Over the training batches of the epoch that is under way. */
  sums: Sums = NOTHING;
  /** Time spent on them. */
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

  /** A new model, or the one of the newest checkpoint in the folder. */
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
      const extra = checkpointExtra(checkpoint, ["result", "sums"]);
      training.step = restoreRun(checkpoint, training).step;
      Object.assign(training, extra as unknown as State);
    }
    return training;
  }

  /** Writes a checkpoint; the one before is kept until the next. */
  async save(): Promise<void> {
    const { result, sums, epochSeconds } = this;
    const state: State = { result, sums, epochSeconds };
    const extra = structuredClone(state) as unknown as Json;
    await saveRun(this.folder, this.step, this, { keep: 2, extra });
  }

  [Symbol.dispose](): void {
    this.optimizer[Symbol.dispose]();
    this.model.dispose();
  }
}
