/** Memory and numbers for the tests of the WASM kernels. */
import type { ThreadPool } from "../../src/device/cpu/threads.ts";

/** Hands out addresses of a pool's memory one after another. */
export class Arena {
  #at: number;
  constructor(readonly pool: ThreadPool, from: number = pool.heapBase) {
    this.#at = from;
  }

  /** Room for `length` elements of 4 bytes; `shift` floats off the 16-byte grid. */
  alloc(length: number, shift = 1): number {
    const address = Math.ceil(this.#at / 16) * 16 + 4 * shift;
    this.#at = address + 4 * length;
    const missing = this.#at + 64 - this.pool.memory.buffer.byteLength;
    if (missing > 0) this.pool.memory.grow(Math.ceil(missing / 65536));
    return address;
  }

  floats(address: number, length: number): Float32Array {
    return new Float32Array(this.pool.memory.buffer, address, length);
  }

  ints(address: number, length: number): Int32Array {
    return new Int32Array(this.pool.memory.buffer, address, length);
  }

  /** Copies numbers into fresh room. */
  put(values: ArrayLike<number>): number {
    const address = this.alloc(values.length);
    this.floats(address, values.length).set(values);
    return address;
  }

  putInts(values: ArrayLike<number>): number {
    const address = this.alloc(values.length);
    this.ints(address, values.length).set(values);
    return address;
  }

  /** Fresh room filled with a number that no test expects, so that an unwritten element shows. */
  out(length: number): number {
    const address = this.alloc(length);
    this.floats(address, length).fill(-12345.678);
    return address;
  }
}

/** A small generator of repeatable numbers in [-1, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 31 - 1;
  };
}

/** `length` random float32 values times `scale`. */
export function randoms(length: number, seed: number, scale = 1): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length }, () => next() * scale);
}

/** Largest |actual - expected| / (1 + |expected|); Infinity when a NaN or an infinity is not met by the same. */
export function worst(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let error = 0;
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(actual[i], expected[i])) continue;
    const e = Math.abs(actual[i] - expected[i]) / (1 + Math.abs(expected[i]));
    if (!(e < Infinity)) return Infinity;
    error = Math.max(error, e);
  }
  return error;
}
