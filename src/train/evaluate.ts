/**
 * The loss on data that the model is not trained on.
 *
 * @module
 */
import { type Communicator, shareOf, SingleProcess } from "../distributed/communicator.ts";
import { yieldToEventLoop } from "../device/event_loop.ts";
import { tensor } from "../tensor/create.ts";
import { Scope } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import type { Batch, BatchLoader } from "../data/loader.ts";
import type { Device } from "../device/device.ts";
import type { ForwardOptions } from "../nn/forward_options.ts";

/** A model that can score batches of tokens. */
export interface LanguageModel {
  /**
   * Returns the mean loss in nats of targets (B, T) given ids (B, T). A batch whose rows consist of several documents has
   * `positions`: a model that does not go by them lets tokens see other documents than their own, which only a subclass of
   * `CausalLM` notices.
   */
  loss(ids: Tensor, targets: Tensor, options: Pick<ForwardOptions, "positions">): Tensor;
}

/** Returns the parts of a batch as tensors (B, T) on a device. */
export function batchTensors(
  batch: Batch,
  shape: readonly [number, number],
  device: Device,
): { ids: Tensor; targets: Tensor; positions: Tensor | undefined } {
  const { inputs, targets, positions } = batch;
  return {
    ids: tensor(inputs, { shape, device }),
    targets: tensor(targets, { shape, device }),
    positions: positions && tensor(positions, { shape, device }),
  };
}

/** Options of {@linkcode validationLoss}. */
export interface ValidationOptions {
  /** Aborting it ends the evaluation, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The ranks that share the batches; every rank gets the mean over all of them. */
  readonly communicator?: Communicator | undefined;
  /**
   * Returns the number of items over which the loss of a batch is averaged, its weight in the mean. Default: the number
   * of rows.
   */
  readonly count?: ((batch: Batch) => number) | undefined;
}

/**
 * Returns the mean loss of `model` over the first `rows` rows of the loader, in nats per token; the last batch may have
 * fewer rows than the others. The loader is then put back where it was. The losses are read once, at the end. Throws a
 * `RangeError` unless there are rows.
 */
export async function validationLoss(
  model: LanguageModel,
  loader: BatchLoader,
  rows: number,
  device: Device,
  options?: ValidationOptions,
): Promise<number> {
  if (!(rows >= 1)) {
    throw new RangeError(`validationLoss: expected rows of 1 or more but got ${rows}`);
  }
  const { signal, communicator = new SingleProcess(), count } = options ?? {};
  const { batchSize, contextSize } = loader;
  const { start, end } = shareOf(rows, communicator);
  const before = loader.state();
  loader.seek(start * contextSize);
  const losses: Tensor[] = [];
  const counts: number[] = [];
  const sums = Float64Array.of(0, 0);
  try {
    for (let row = start; row < end; row += batchSize) {
      signal?.throwIfAborted();
      await yieldToEventLoop();
      const some = Math.min(batchSize, end - row);
      const batch = await loader.next(some);
      counts.push(count?.(batch) ?? some);
      using _scope = new Scope();
      const { ids, targets, positions } = batchTensors(batch, [some, contextSize], device);
      losses.push(noGrad(() => model.loss(ids, targets, { positions })).keep());
    }
    const values = await readTensors(losses);
    values.forEach(([value], i) => {
      sums[0]! += value! * counts[i]!;
      sums[1]! += counts[i]!;
    });
  } finally {
    losses.forEach((loss) => loss.dispose());
    loader.restore(before);
  }
  await communicator.allReduce(sums);
  return sums[0]! / sums[1]!;
}
