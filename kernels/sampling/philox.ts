/**
 * Counter-based random numbers: they depend only on a key and a counter, so both devices draw the same ones, and a
 * backward pass can draw again what the forward pass drew. Philox 4x32-10 (Salmon et al. 2011, "Parallel random
 * numbers: as easy as 1, 2, 3").
 *
 * @module
 */
import wgsl from "./philox.wgsl" with { type: "text" };

/** The position of a launch in a stream; the fields are part of the kernel's parameters. */
export type StreamParams = {
  /** The lower half of the key. */
  seed_low: number;
  /** The upper half of the key. */
  seed_high: number;
  /** The lower half of the index of the first block of four numbers. */
  block_low: number;
  /** The upper half of that index. */
  block_high: number;
};

/** The types of {@linkcode StreamParams} in a kernel's specification. */
export const STREAM_PARAMS = {
  seed_low: "u32",
  seed_high: "u32",
  block_low: "u32",
  block_high: "u32",
} as const;

/** WGSL that provides `random_block` and `unit`. */
export const philoxWgsl: string = wgsl;

/** The upper half of the product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  const middle = (Math.imul(ah, bl) >>> 0) + (Math.imul(al, bl) >>> 16);
  const carry = (Math.imul(al, bh) >>> 0) + (middle & 0xffff);
  // Neither sum exceeds 2^32: the largest product of halves is 2^32 - 2^17 + 1.
  return (Math.imul(ah, bh) + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

/** Writes the four numbers of a counter under a key to `out`. */
export function philox(
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
  out: Uint32Array,
): void {
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xD2511F53, c0);
    const high1 = mulHigh(0xCD9E8D57, c2);
    const low0 = Math.imul(0xD2511F53, c0) >>> 0;
    const low1 = Math.imul(0xCD9E8D57, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + 0x9E3779B9) >>> 0;
    k1 = (k1 + 0xBB67AE85) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/**
 * Calls `visit` with the random bits of every index from 0 to `count` - 1 of a launch's stream, starting at block
 * `first`.
 */
export function eachRandom(
  count: number,
  { seed_low, seed_high, block_low, block_high }: StreamParams,
  visit: (index: number, bits: number) => void,
  first = 0,
): void {
  const four = new Uint32Array(4);
  for (let block = 0; block * 4 < count; block++) {
    const low = (block_low + first + block) >>> 0;
    const high = (block_high + (block_low + first + block > 0xffffffff ? 1 : 0)) >>> 0;
    philox(low, high, 0, 0, seed_low, seed_high, four);
    for (let i = 0; i < 4 && block * 4 + i < count; i++) visit(block * 4 + i, four[i]!);
  }
}

/** Converts random bits to a number in [0, 1), in steps of 2^-24. */
export function unit(bits: number): number {
  return (bits >>> 8) * 2 ** -24;
}
