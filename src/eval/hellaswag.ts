/**
 * HellaSwag (Zellers et al. 2019): of several endings of a story, a model should find the sensible one least
 * surprising.
 *
 * @module
 */
import type { HellaSwagItem } from "../../data/hellaswag.ts";
import type { Device } from "../device/device.ts";
import { type Communicator, shareOf, SingleProcess } from "../distributed/communicator.ts";
import { crossEntropy, IGNORE_INDEX } from "../ops/loss.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import { promptIds, type Tokenizer } from "../tokenizer/tokenizer.ts";

/** A model that scores every next token: every language model here. */
export interface LogitsModel {
  /** Sequences have at most `maxPositionEmbeddings` tokens. */
  readonly config: { readonly maxPositionEmbeddings: number };
  /** The device of the model. */
  readonly device: Device;
  /** Returns the scores (B, T, V) of the token after each of `ids` (B, T), `i32`. */
  logits(ids: Tensor): Tensor;
}

/** Options of {@linkcode evaluateHellaSwag}. */
export interface HellaSwagOptions {
  /** The number of items to use, starting with the first. Default: all. */
  readonly limit?: number | undefined;
  /** Called after every few items with the score of this process's items so far and the total number of items. */
  readonly onProgress?: ((score: HellaSwagScore, total: number) => void) | undefined;
  /** Aborting it ends the evaluation, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The ranks that share the items; every rank gets the score over all of them. */
  readonly communicator?: Communicator | undefined;
}

/** The share of items that a model got right. */
export interface HellaSwagScore {
  /** The number of items evaluated. */
  readonly items: number;
  /** The share of items whose right ending has the lowest loss, summed over the ending's tokens. */
  readonly acc: number;
  /**
   * The share of items whose right ending has the lowest mean loss per token: the figure by which models are compared.
   */
  readonly accNorm: number;
}

/** The number of items whose losses are read at once, since every read from a GPU waits. */
const ITEMS_A_READ = 16;

/**
 * Scores a model on HellaSwag items as build-nanogpt's `hellaswag.py` does. The context, a space and an ending are
 * tokenized as one text, after the tokens that the tokenizer puts before a text, or separately if the tokens of the
 * context would change; with GPT-2's tokenizer both are the same. All endings of an item go through the model in one
 * batch, padded on the right, and an ending's loss covers its own tokens only. `accNorm` chooses by the mean loss,
 * `acc` by the sum; among equal losses the first is chosen. With OpenAI's weights GPT-2 124M has `accNorm` 0.2955 and
 * `acc` 0.2859 on the 10,042 items of the validation set; chance is 0.25. Contexts that are too long for the model lose
 * their beginning.
 *
 * Throws a `RangeError` if there are no items, if an item's context or an ending has no tokens, or if an ending alone
 * is too long for the model.
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

/**
 * The endings of an item as rows (endings, length), each after the context; targets of context and padding are ignored.
 */
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
  const before = promptIds(tokenizer, context);
  const rows = endings.map((ending) => {
    const whole = promptIds(tokenizer, `${context} ${ending}`);
    const after = before.every((id, i) => whole[i] === id)
      ? whole.slice(before.length)
      : tokenizer.encodeOrdinary(` ${ending}`);
    if (before.length === 0 || after.length > contextSize) {
      throw new RangeError(
        `evaluateHellaSwag: item ${index}: expected a context of 1 to ${contextSize} tokens with its end but ` +
          `got ${before.length} and an end of ${after.length}`,
      );
    }
    // The last token is only a target, never an input.
    const kept = before.slice(Math.max(0, before.length + after.length - 1 - contextSize));
    return { tokens: [...kept, ...after], start: kept.length };
  });
  const length = Math.max(...rows.map(({ tokens }) => tokens.length)) - 1;
  const ids = new Int32Array(rows.length * length);
  const targets = new Int32Array(rows.length * length).fill(IGNORE_INDEX);
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
      crossEntropy(
        model.logits(tensor(ids, { shape, device })),
        tensor(targets, { shape, device }),
        { reduction: "none" },
      )
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
    if (target === IGNORE_INDEX) return;
    const row = Math.floor(i / length);
    sums[row]! += losses[i]!;
    counts[row]!++;
  });
  return { sums, means: sums.map((sum, row) => sum / counts[row]!) };
}

function lowest(values: readonly number[]): number {
  return values.indexOf(Math.min(...values));
}
