/** The training of an existing model: all weights or an adapter, with examples or with pairs. */
import {
  AdamW,
  applyLoRA,
  type Batch,
  type CausalLM,
  dpoLoss,
  type ForwardOptions,
  type LoRA,
  noGrad,
  type RandomState,
  reshape,
  RowLoader,
  type Rows,
  scoped,
  type Tensor,
} from "../../../mod.ts";
import type { Task } from "../train/task.ts";
import type { Options } from "./options.ts";

/** What is trained and how. */
export interface TuningSetup {
  readonly options: Options;
  readonly model: CausalLM;
  /** The model as it was, for pairs if all weights are trained. */
  readonly reference: CausalLM | undefined;
  readonly rows: Rows["rows"];
  readonly contextSize: number;
  /** Whether rows hold several examples. */
  readonly packed: boolean;
}

/** A task, with the adapter if there is one. */
export interface TuningTask extends Task {
  readonly adapter: LoRA | undefined;
}

/** Targets of this value do not count. */
const IGNORED = -100;

/** Adds the adapter to the model, if there is to be one, and creates an optimizer. */
export function tuning(setup: TuningSetup, random: RandomState): TuningTask {
  const { options, model, reference, rows, contextSize, packed: pack } = setup;
  const { lora, loraAlpha, loraTargets, loraDropout, rslora, seed, weightDecay, dpo, beta } =
    options;
  const adapter = lora === undefined ? undefined : applyLoRA(model, {
    ...{ r: lora, loraAlpha, loraDropout, random },
    targetModules: loraTargets,
    useRslora: rslora,
  });
  const trained = adapter ?? model.unfreeze();

  const byExamples = (ids: Tensor, targets: Tensor, pass?: ForwardOptions) =>
    model.loss(ids, targets, pass);
  /** The loss for ids and targets (P, 2 T): each row holds the better answer and the other. */
  const byPairs = (ids: Tensor, targets: Tensor, pass?: ForwardOptions) =>
    scoped(() => {
      const [pairs, length] = ids.shape as [number, number];
      const sequences = [ids, targets].map((x) => reshape(x, [2 * pairs, length / 2]));
      const logProbs = (of: CausalLM, pass?: ForwardOptions) =>
        reshape(of.logProbs(sequences[0]!, sequences[1]!, pass), [pairs, 2]);
      const before = noGrad(() =>
        adapter ? adapter.without(() => logProbs(model)) : logProbs(reference!)
      );
      // No dropout, so that the model differs from the reference only by what it has learned.
      return dpoLoss(logProbs(model, { ...pass, dropout: undefined }), before, { beta });
    });
  const loss = dpo ? byPairs : byExamples;
  return {
    ...{ model, trained, adapter },
    createOptimizer: (parameters) => new AdamW(parameters, { weightDecay }),
    openBatches: (batchSize) =>
      Promise.resolve(new RowLoader(rows, { batchSize, contextSize, pack, seed })),
    loss,
    backward(ids, targets, factor, pass) {
      if (adapter && !dpo) adapter.random = pass.dropout;
      try {
        const found = loss(ids, targets, pass);
        found.backward(factor);
        return found;
      } finally {
        if (adapter) adapter.random = undefined;
      }
    },
    ...!dpo &&
      { count: ({ targets }: Batch) => targets.reduce((n, id) => n + Number(id !== IGNORED), 0) },
    [Symbol.dispose]() {
      adapter?.dispose();
      model.dispose();
      reference?.dispose();
    },
  };
}
