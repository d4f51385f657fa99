/**
 * Text out of ids that come one at a time.
 *
 * @module
 */
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Decodes ids as a model makes them. A token may end inside a UTF-8 character: its first bytes are
 * held until the rest is there, so a character is never cut.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { GPT2Tokenizer, StreamDecoder } from "@dinograd/dinograd";
 *
 * const tokenizer = new GPT2Tokenizer();
 * const stream = new StreamDecoder(tokenizer);
 * const parts = [...tokenizer.encode("a 🦕")].map((id) => stream.push(id));
 * assert.deepEqual(parts, ["a", " ", "", "🦕"]);
 * assert.equal(stream.flush(), "");
 * ```
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /**
   * Begins a text.
   *
   * @param tokenizer whose ids are decoded
   */
  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /**
   * The text that `id` completes: empty while a character is unfinished. Bytes that cannot be UTF-8
   * become U+FFFD.
   *
   * @throws {RangeError} if there is no such id; what was held is still held
   */
  push(id: number): string {
    return this.#decoder.decode(this.#tokenizer.decodeBytes([id]), { stream: true });
  }

  /** What is left at the end: U+FFFD if a character is unfinished, else nothing. Starts anew. */
  flush(): string {
    return this.#decoder.decode();
  }
}
