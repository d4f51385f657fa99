/** What is trained, on what, and by which loss. */
import {
  AdamW,
  type Batch,
  type BatchLoader,
  type CausalLM,
  type Device,
  type ForwardOptions,
  type Module,
  Muon,
  type Optimizer,
  type RandomState,
  type Tensor,
  TokenLoader,
} from "../../../mod.ts";
import type { Corpus } from "./corpus.ts";
import { createModel, type ModelOptions } from "./model.ts";
import type { Options } from "./options.ts";

/** A model, what of it is trained, and the data. */
export interface Task extends Disposable {
  /** The model. */
  readonly model: CausalLM;
  /** What checkpoints keep: the model, or its adapter. */
  readonly trained: Module;
  /** Makes what updates its parameters, or this rank's of them. */
  createOptimizer(parameters: ReadonlyMap<string, Tensor>): Optimizer;
  /** Opens the data for micro-batches of so many rows. */
  openBatches(batchSize: number): Promise<BatchLoader>;
  /** The mean loss of a batch; ids and targets are (rows, contextSize of the loader). */
  loss(ids: Tensor, targets: Tensor, pass: Pick<ForwardOptions, "positions">): Tensor;
  /** The loss in training, whose gradients times `factor` are added to those of the parameters. */
  backward(
    ids: Tensor,
    targets: Tensor,
    factor: Tensor | number,
    pass: Pick<ForwardOptions, "positions" | "dropout" | "recompute">,
  ): Tensor;
  /** How many things the loss of a batch is the mean of. Left out: equally many in each. */
  count?(batch: Batch): number;
}

/** What a new model is made of and trained on. */
export interface Pretraining {
  readonly options: Options & ModelOptions;
  readonly device: Device;
  readonly dtype: "f32" | "f16";
  readonly corpus: Pick<Corpus, "train" | "separator">;
}

/** The training of a new model. */
export function pretraining(setup: Pretraining, random: RandomState): Task {
  const { options, device, dtype, corpus: { train, separator } } = setup;
  const { seed, shuffle, documentBorders } = options;
  const model = createModel(options, { device, dtype, random });
  return {
    ...{ model, trained: model },
    createOptimizer: (parameters) => createOptimizer(parameters, options),
    openBatches: (batchSize) =>
      TokenLoader.open(train, {
        batchSize,
        contextSize: options.context,
        vocabSize: options.vocab,
        shuffle: shuffle ? { seed, separator: separator! } : undefined,
        documentSeparator: documentBorders ? separator : undefined,
      }),
    loss: (ids, targets, pass) => model.loss(ids, targets, pass),
    backward(ids, targets, factor, pass) {
      const loss = model.loss(ids, targets, pass);
      loss.backward(factor);
      return loss;
    },
    [Symbol.dispose]() {
      model.dispose();
    },
  };
}

/** AdamW, or Muon with AdamW for what is no matrix of a block. */
function createOptimizer(
  parameters: ReadonlyMap<string, Tensor>,
  options: Options,
): Optimizer {
  const { adamScale, weightDecay } = options;
  const adamW = { betas: [0.9, 0.95] as const, weightDecay };
  if (options.optimizer === "adamw") return new AdamW(parameters, adamW);
  return new Muon(parameters, {
    weightDecay,
    adamW: { ...adamW, lrScale: adamScale },
  });
}
