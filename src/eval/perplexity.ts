/**
 * A mean loss in units that people compare models by.
 *
 * @module
 */

/**
 * The perplexity of a mean loss in nats for each token: between how many equally likely tokens the model
 * would be as much in doubt.
 *
 * @example
 * ```ts
 * import { perplexity } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * assert.equal(perplexity(0), 1);
 * assert.ok(Math.abs(perplexity(Math.log(50)) - 50) < 1e-9);
 * ```
 */
export function perplexity(nats: number): number {
  return Math.exp(nats);
}

/**
 * The bits that a model needs for each byte of the text: a loss that models with different tokenizers can be
 * compared by. `nats` is the mean loss for each of `tokens` tokens, which stand for `bytes` bytes of UTF-8.
 * Throws a `RangeError` unless there are tokens and bytes.
 *
 * @example One bit for each token of two bytes
 * ```ts
 * import { bitsPerByte } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * assert.equal(bitsPerByte(Math.LN2, 500, 1000), 0.5);
 * ```
 */
export function bitsPerByte(nats: number, tokens: number, bytes: number): number {
  if (!(tokens > 0 && bytes > 0)) {
    throw new RangeError(
      `bitsPerByte: expected tokens and bytes above 0 but got ${tokens} tokens and ${bytes} bytes`,
    );
  }
  return nats / Math.LN2 * tokens / bytes;
}
