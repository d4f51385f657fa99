/**
 * HellaSwag (Zellers et al. 2019): of several ends of a story, a model should find the sensible one the least surprising.
 *
 * @module
 */
import type { HellaSwagItem } from "../../data/hellaswag.ts";
import type { Device } from "../device/device.ts";
import { type Communicator, shareOf, SingleProcess } from "../distributed/communicator.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { IGNORED, tokenLosses } from "./token_losses.ts";

/** A model that scores every next token: all language models here. */
export interface LogitsModel {
  /** Its sequences have at most `maxPositionEmbeddings` tokens. */
  readonly config: { readonly maxPositionEmbeddings: number };
  /** The device. */
  readonly device: Device;
  /** Scores (B, T, V) of the token after each of `ids` (B, T), of `i32`. */
  logits(ids: Tensor): Tensor;
}

/** Options of {@linkcode evaluateHellaSwag}. */
export interface HellaSwagOptions {
  /** How many of the items to take, from the first on. Default: all. */
  readonly limit?: number | undefined;
  /** Called after every few items, with the score of those of this process so far, and how many there are. */
  readonly onProgress?: ((score: HellaSwagScore, total: number) => void) | undefined;
  /** Ends it with an error, the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The ranks that share the items; every one of them gets the score of all. */
  readonly communicator?: Communicator | undefined;
}

/** How many items a model got right. */
export interface HellaSwagScore {
  /** Items that were tried. */
  readonly items: number;
  /** Share of them whose right end has the lowest loss, summed over the end's tokens. */
  readonly acc: number;
  /** Share of them whose right end has the lowest mean loss of a token: the figure that models are compared by. */
  readonly accNorm: number;
}

/** Items whose losses are read at once: on a GPU each read waits. */
const ITEMS_A_READ = 16;

/**
 * Scores a model on items of HellaSwag as build-nanogpt's `hellaswag.py` does: context and each end, with a blank before
 * it, are tokenized apart and put together; all ends of an item go through the model in one batch, padded on the right; an
 * end's loss is taken over its own tokens only. `accNorm` chooses by the mean of it, `acc` by the sum; of equal ones the
 * first is chosen. With OpenAI's weights GPT-2 124M has `accNorm` 0.2955 and `acc` 0.2859 on the 10,042 items of the validation
 * set, and chance is 0.25. Contexts that are too long for the model lose their beginning.
 *
 * Throws a `RangeError` where there are no items, where context or end of one have no tokens, and where an end alone is
 * too long for the model.
 *
 * @example
 * ```ts
 * import { CpuDevice, evaluateHellaSwag, GPT2, GPT2Tokenizer } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 50257, maxPositionEmbeddings: 32, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device }); // knows nothing
 * const items = [{ context: "She opens the", endings: ["door.", "a of."], label: 0 }];
 * const { accNorm } = await evaluateHellaSwag(model, new GPT2Tokenizer(), items);
 * assert.ok(accNorm === 0 || accNorm === 1);
 * model.dispose();
 * ```
 */
export async function evaluateHellaSwag(
  model: LogitsModel,
  tokenizer: Tokenizer,
  items: readonly HellaSwagItem[],
  options?: HellaSwagOptions,
): Promise<HellaSwagScore> {
  const { limit = items.length, onProgress, signal } = options ?? {};
  const { communicator = new SingleProcess() } = options ?? {};
  if (!(Number.isInteger(limit) && limit >= 1 && items.length > 0)) {
    throw new RangeError(
      `evaluateHellaSwag: expected one item at least but got ${items.length}, limited to ${limit}`,
    );
  }
  const total = Math.min(limit, items.length);
  const { start, end } = shareOf(total, communicator);
  let [right, rightNorm] = [0, 0];
  const score = (items: number) => ({ items, acc: right / items, accNorm: rightNorm / items });
  for (let first = start; first < end; first += ITEMS_A_READ) {
    signal?.throwIfAborted();
    const group = items.slice(first, Math.min(end, first + ITEMS_A_READ));
    const losses: Tensor[] = [];
    try {
      const batches = group.map((item, i) => {
        const batch = batchOf(item, first + i, tokenizer, model.config.maxPositionEmbeddings);
        losses.push(lossesOf(model, batch));
        return batch;
      });
      const values = await readTensors(losses);
      group.forEach(({ label }, i) => {
        const { sums, means } = endLosses(values[i] as Float32Array, batches[i]!);
        if (lowest(sums) === label) right++;
        if (lowest(means) === label) rightNorm++;
      });
    } finally {
      losses.forEach((loss) => loss.dispose());
    }
    onProgress?.(score(first + group.length - start), end - start);
  }
  const counts = Float64Array.of(right, rightNorm);
  await communicator.allReduce(counts);
  [right, rightNorm] = counts as unknown as [number, number];
  return score(total);
}

/** The ends of an item as rows (ends, length), each after the context; targets of context and padding are ignored. */
interface ItemBatch {
  ids: Int32Array;
  targets: Int32Array;
  shape: [number, number];
}

function batchOf(
  { context, endings }: HellaSwagItem,
  index: number,
  tokenizer: Tokenizer,
  contextSize: number,
): ItemBatch {
  const before = tokenizer.encodeOrdinary(context);
  const rows = endings.map((ending) => {
    const after = tokenizer.encodeOrdinary(` ${ending}`);
    if (before.length === 0 || after.length > contextSize) {
      throw new RangeError(
        `evaluateHellaSwag: item ${index}: expected a context of 1 to ${contextSize} tokens with its end but ` +
          `got ${before.length} and an end of ${after.length}`,
      );
    }
    // The last token is only a target.
    const kept = before.slice(Math.max(0, before.length + after.length - 1 - contextSize));
    return { tokens: [...kept, ...after], start: kept.length };
  });
  const length = Math.max(...rows.map(({ tokens }) => tokens.length)) - 1;
  const ids = new Int32Array(rows.length * length);
  const targets = new Int32Array(rows.length * length).fill(IGNORED);
  rows.forEach(({ tokens, start }, row) => {
    ids.set(tokens.slice(0, -1), row * length);
    targets.set(tokens.slice(start), row * length + start - 1);
  });
  return { ids, targets, shape: [rows.length, length] };
}

function lossesOf(model: LogitsModel, { ids, targets, shape }: ItemBatch): Tensor {
  const { device } = model;
  return noGrad(() =>
    scoped(() =>
      tokenLosses(model.logits(tensor(ids, { shape, device })), tensor(targets, { shape, device }))
    )
  ).keep();
}

function endLosses(
  losses: Float32Array,
  { targets, shape: [ends, length] }: ItemBatch,
): { sums: number[]; means: number[] } {
  const sums = new Array<number>(ends).fill(0);
  const counts = new Array<number>(ends).fill(0);
  targets.forEach((target, i) => {
    if (target === IGNORED) return;
    const row = Math.floor(i / length);
    sums[row]! += losses[i]!;
    counts[row]!++;
  });
  return { sums, means: sums.map((sum, row) => sum / counts[row]!) };
}

function lowest(values: readonly number[]): number {
  return values.indexOf(Math.min(...values));
}
