/**
 * The loss on data that is not trained on.
 *
 * @module
 */
import { yieldToEventLoop } from "../device/event_loop.ts";
import { tensor } from "../tensor/create.ts";
import { Scope } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import type { Batch, BatchLoader } from "../data/loader.ts";
import type { Device } from "../device/device.ts";

/** A model that can score token batches. */
export interface LanguageModel {
  /** The mean loss in nats of targets (B, T) given ids (B, T). */
  loss(ids: Tensor, targets: Tensor): Tensor;
}

/** The two halves of a batch as tensors (B, T) of ids on a device. */
export function batchTensors(
  batch: Batch,
  shape: readonly [number, number],
  device: Device,
): { ids: Tensor; targets: Tensor } {
  return {
    ids: tensor(batch.inputs, { shape, device }),
    targets: tensor(batch.targets, { shape, device }),
  };
}

/** Options of {@linkcode validationLoss}. */
export interface ValidationOptions {
  /** Ends it with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** How many things the loss of a batch is the mean of, where these are not equally many in each. */
  readonly count?: ((batch: Batch) => number) | undefined;
}

/**
 * The mean loss of `model` over `batches` batches from the loader's very beginning, in nats for each token;
 * the loader is put back where it stood. The values are read once, at the end.
 */
export async function validationLoss(
  model: LanguageModel,
  loader: BatchLoader,
  batches: number,
  device: Device,
  options?: ValidationOptions,
): Promise<number> {
  if (!(batches >= 1)) {
    throw new RangeError(`validationLoss: expected batches of 1 or more but got ${batches}`);
  }
  const before = loader.state();
  loader.restore({ ...before, position: 0 });
  const losses: Tensor[] = [];
  const counts: number[] = [];
  try {
    for (let i = 0; i < batches; i++) {
      options?.signal?.throwIfAborted();
      await yieldToEventLoop();
      const batch = await loader.next();
      counts.push(options?.count?.(batch) ?? 1);
      using _scope = new Scope();
      const { ids, targets } = batchTensors(batch, [loader.batchSize, loader.contextSize], device);
      losses.push(noGrad(() => model.loss(ids, targets)).keep());
    }
    const values = await readTensors(losses);
    const sum = values.reduce((sum, [value], i) => sum + value! * counts[i]!, 0);
    return sum / counts.reduce((a, b) => a + b);
  } finally {
    losses.forEach((loss) => loss.dispose());
    loader.restore(before);
  }
}
