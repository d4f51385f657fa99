/**
 * Chances that repeat: each case has a stream of its own, so that it can be made again alone.
 *
 * @module
 */

/** A stream of numbers that depends on its seed alone (Steele et al. 2014, "SplitMix"; 32 bits). */
export class Chance {
  #state: number;

  /** The stream of a text, such as `"7 npy 123"`. */
  constructor(seed: string) {
    // FNV-1a over UTF-16 units; the mixing below does the rest.
    let hash = 0x811c9dc5;
    for (let i = 0; i < seed.length; i++) hash = Math.imul(hash ^ seed.charCodeAt(i), 0x01000193);
    this.#state = hash >>> 0;
  }

  /** An integer from 0 to `below - 1`. */
  below(below: number): number {
    return Math.floor(this.#next() * below);
  }

  /** An integer from `from` to `to`, both included. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** One of several. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  /** From 0 to 1, 1 left out. */
  #next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  }
}
