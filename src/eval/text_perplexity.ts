/**
 * The perplexity of a text of any length.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { IGNORE_INDEX } from "../ops/loss.ts";
import { tensor } from "../tensor/create.ts";
import { scoped } from "../tensor/scope.ts";
import { noGrad } from "../tensor/tape.ts";
import { readTensors, type Tensor } from "../tensor/tensor.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { bitsPerByte, perplexity } from "./perplexity.ts";

/** A model that scores texts: every language model here. */
export interface LossModel {
  /** Sequences have at most `maxPositionEmbeddings` tokens. */
  readonly config: { readonly maxPositionEmbeddings: number };
  /** The device of the model. */
  readonly device: Device;
  /** Returns the mean loss in nats of `targets` (B, T) given `ids` (B, T); targets of -100 do not count. */
  loss(ids: Tensor, targets: Tensor): Tensor;
}

/** Options of {@linkcode textPerplexity}. */
export interface TextPerplexityOptions {
  /** The number of tokens in a window, at least 2. Default: the model's context size. */
  readonly contextSize?: number | undefined;
  /**
   * The number of tokens by which the window advances, and so the maximum number that each window scores. A smaller
   * stride gives every token more context and takes longer. Default: half a window.
   */
  readonly stride?: number | undefined;
  /**
   * A token put before the text, such as `<|endoftext|>`, so that the text's first token is scored too. Default: none;
   * the first token, which has no context, is then not scored.
   */
  readonly before?: number;
  /** Called after every few windows with the number of tokens scored so far and the total. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Aborting it ends the evaluation, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The result of {@linkcode textPerplexity}. */
export interface TextPerplexity {
  /** The mean loss per token in nats. */
  readonly loss: number;
  /** The exponential of the loss. */
  readonly perplexity: number;
  /** Bits per byte of UTF-8, by which models with different tokenizers can be compared. */
  readonly bitsPerByte: number;
  /** The number of tokens that were scored. */
  readonly tokens: number;
  /** The number of UTF-8 bytes that these tokens stand for. */
  readonly bytes: number;
}

/** The number of windows whose losses are read at once, since every read from a GPU waits. */
const WINDOWS_A_READ = 16;

/**
 * Measures the perplexity of a model on a text with a sliding window, as in Hugging Face's guide "Perplexity of
 * fixed-length models". Each token is scored once: the first window scores all of its tokens but the first, every later
 * window those that the one before did not reach, with as much context as fits. Special tokens in the text count as
 * ordinary text.
 *
 * Throws a `RangeError` if the text has fewer than two tokens (with `before`, none), the window is larger than the
 * model's context, or the stride is not between 1 and the window's length.
 *
 * @example
 * ```ts
 * import { CpuDevice, GPT2, GPT2Tokenizer, textPerplexity } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 50257, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device }); // finds all tokens about as likely
 * const { perplexity } = await textPerplexity(model, new GPT2Tokenizer(), "A whale. ".repeat(20), { stride: 4 });
 * assert.ok(perplexity > 40_000 && perplexity < 60_000);
 * model.dispose();
 * ```
 */
export async function textPerplexity(
  model: LossModel,
  tokenizer: Tokenizer,
  text: string,
  options?: TextPerplexityOptions,
): Promise<TextPerplexity> {
  const { before, onProgress, signal } = options ?? {};
  const { maxPositionEmbeddings } = model.config;
  const { contextSize = maxPositionEmbeddings } = options ?? {};
  const { stride = Math.ceil(contextSize / 2) } = options ?? {};
  if (
    !(Number.isInteger(contextSize) && contextSize >= 2 && contextSize <= maxPositionEmbeddings)
  ) {
    throw new RangeError(
      `textPerplexity: expected windows of 2 to ${maxPositionEmbeddings} tokens but got ${contextSize}`,
    );
  }
  if (!(Number.isInteger(stride) && stride >= 1 && stride <= contextSize)) {
    throw new RangeError(
      `textPerplexity: expected a stride from 1 to ${contextSize} but got ${stride}`,
    );
  }
  const encoded = tokenizer.encodeOrdinary(text);
  const ids = Int32Array.from(before === undefined ? encoded : [before, ...encoded]);
  const total = ids.length - 1;
  if (total < 1) {
    throw new RangeError(
      `textPerplexity: expected a longer text but got ${encoded.length} tokens`,
    );
  }

  const windows = windowsOf(ids.length, contextSize, stride);
  let [sum, done] = [0, 0];
  for (let first = 0; first < windows.length; first += WINDOWS_A_READ) {
    signal?.throwIfAborted();
    const group = windows.slice(first, first + WINDOWS_A_READ);
    const losses: Tensor[] = [];
    try {
      for (const window of group) losses.push(lossOf(model, ids, window));
      const values = await readTensors(losses);
      group.forEach(({ scored }, i) => {
        sum += values[i]![0]! * scored;
        done += scored;
      });
    } finally {
      losses.forEach((loss) => loss.dispose());
    }
    onProgress?.(done, total);
  }
  const loss = sum / total;
  const bytes = tokenizer.decodeBytes(before === undefined ? encoded.subarray(1) : encoded).length;
  return {
    loss,
    perplexity: perplexity(loss),
    bitsPerByte: bitsPerByte(loss, total, bytes),
    tokens: total,
    bytes,
  };
}

/** The tokens from `start` to `end`, of which the last `scored` ones are scored. */
interface Window {
  start: number;
  end: number;
  scored: number;
}

function windowsOf(length: number, contextSize: number, stride: number): Window[] {
  const windows: Window[] = [];
  let reached = 1; // the first token has no context
  for (let start = 0; reached < length; start += stride) {
    const end = Math.min(length, start + contextSize);
    // The first token of a window is context only, even if windows do not overlap.
    windows.push({ start: Math.min(start, reached - 1), end, scored: end - reached });
    reached = end;
  }
  return windows;
}

function lossOf(model: LossModel, ids: Int32Array, { start, end, scored }: Window): Tensor {
  const { device } = model;
  const shape = [1, end - 1 - start];
  const targets = ids.slice(start + 1, end).fill(IGNORE_INDEX, 0, end - 1 - start - scored);
  return noGrad(() =>
    scoped(() =>
      model.loss(
        tensor(ids.slice(start, end - 1), { shape, device }),
        tensor(targets, { shape, device }),
      )
    )
  ).keep();
}
