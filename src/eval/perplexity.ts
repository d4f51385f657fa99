/**
 * Converts a mean loss into the units by which models are compared.
 *
 * @module
 */

/**
 * Returns the perplexity of a mean loss in nats per token: the number of equally likely tokens that would leave the
 * model just as uncertain.
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
 * Returns the bits that a model needs per byte of text, a loss by which models with different tokenizers can be
 * compared. `nats` is the mean loss per token over `tokens` tokens, which stand for `bytes` bytes of UTF-8. Throws a
 * `RangeError` unless there are tokens and bytes.
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
