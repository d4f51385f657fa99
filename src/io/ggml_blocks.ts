/**
 * The element types of GGUF files: plain floats, and blocks of numbers that share a scale. The arithmetic is that of
 * ggml's reference functions (`ggml-quants.c`), so that files are identical to llama.cpp's bit by bit.
 *
 * @module
 */

/** An element type that can be read; `F32`, `F16`, `BF16`, `Q8_0` and `Q4_0` can also be written. */
export type GgmlType =
  | "F32"
  | "F16"
  | "BF16"
  | "Q8_0"
  | "Q4_0"
  | "Q5_0"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K";

/** The types that can be written. */
export type WritableGgmlType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0";

/** The source of a block: the bytes, a view of the same bytes, and the offset of the block. */
interface Source {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** How a type is stored. */
export interface BlockFormat {
  /** The number of the type in files. */
  readonly id: number;
  /** The number of elements in a block. */
  readonly elements: number;
  /** The number of bytes in a block. */
  readonly bytes: number;
  /** Decodes the block at byte `at` into `values` from index `to` on. */
  decode(source: Source, at: number, values: Float32Array, to: number): void;
  /** Encodes the numbers from index `from` on as the block at byte `at`. */
  encode?(values: Float32Array, from: number, target: Source, at: number): void;
}

/** The number of elements that share a scale in `Q8_0`, `Q4_0` and `Q5_0`. */
export const BLOCK = 32;
/**
 * The number of elements in a super-block of the K types: eight blocks of 32, or 16 of 16, whose scales are quantised
 * as well.
 */
const SUPER_BLOCK = 256;
const { fround } = Math;

/** How each type is stored. */
export const GGML_TYPES: Readonly<Record<GgmlType, BlockFormat>> = {
  F32: {
    ...{ id: 0, elements: 1, bytes: 4 },
    decode({ view }, at, values, to) {
      values[to] = view.getFloat32(at, true);
    },
    encode(values, from, { view }, at) {
      view.setFloat32(at, values[from]!, true);
    },
  },
  F16: {
    ...{ id: 1, elements: 1, bytes: 2 },
    decode({ view }, at, values, to) {
      values[to] = view.getFloat16(at, true);
    },
    encode(values, from, { view }, at) {
      view.setFloat16(at, values[from]!, true);
    },
  },
  BF16: {
    ...{ id: 30, elements: 1, bytes: 2 },
    decode({ view }, at, values, to) {
      word[0] = view.getUint16(at, true) << 16;
      values[to] = wordAsFloat[0]!;
    },
    encode(values, from, { view }, at) {
      wordAsFloat[0] = values[from]!;
      const bits = word[0]!;
      const isNaN = (bits & 0x7fffffff) > 0x7f800000;
      view.setUint16(
        at,
        isNaN ? bits >>> 16 | 64 : bits + 0x7fff + (bits >>> 16 & 1) >>> 16,
        true,
      );
    },
  },
  Q8_0: {
    ...{ id: 8, elements: BLOCK, bytes: 2 + BLOCK },
    decode({ bytes, view }, at, values, to) {
      const scale = view.getFloat16(at, true);
      for (let i = 0; i < BLOCK; i++) values[to + i] = scale * (bytes[at + 2 + i]! << 24 >> 24);
    },
    encode(values, from, { bytes, view }, at) {
      let max = 0;
      for (let i = 0; i < BLOCK; i++) max = Math.max(max, Math.abs(values[from + i]!));
      const scale = fround(max / 127);
      const inverse = scale ? fround(1 / scale) : 0;
      view.setFloat16(at, scale, true);
      for (let i = 0; i < BLOCK; i++) {
        bytes[at + 2 + i] = roundAway(fround(values[from + i]! * inverse));
      }
    },
  },
  Q4_0: {
    ...{ id: 2, elements: BLOCK, bytes: 2 + BLOCK / 2 },
    decode({ bytes, view }, at, values, to) {
      const scale = view.getFloat16(at, true);
      for (let i = 0; i < BLOCK / 2; i++) {
        const pair = bytes[at + 2 + i]!;
        values[to + i] = scale * ((pair & 15) - 8);
        values[to + i + BLOCK / 2] = scale * ((pair >> 4) - 8);
      }
    },
    encode(values, from, { bytes, view }, at) {
      // The number farthest from 0 becomes -8, the farthest of the 16 values.
      let farthest = 0;
      for (let i = 0; i < BLOCK; i++) {
        if (Math.abs(values[from + i]!) > Math.abs(farthest)) farthest = values[from + i]!;
      }
      const scale = fround(farthest / -8);
      const inverse = scale ? fround(1 / scale) : 0;
      view.setFloat16(at, scale, true);
      const code = (x: number) => Math.min(15, Math.trunc(fround(fround(x * inverse) + 8.5)));
      for (let i = 0; i < BLOCK / 2; i++) {
        bytes[at + 2 + i] = code(values[from + i]!) | code(values[from + i + BLOCK / 2]!) << 4;
      }
    },
  },
  Q5_0: {
    ...{ id: 6, elements: BLOCK, bytes: 2 + 4 + BLOCK / 2 },
    decode({ bytes, view }, at, values, to) {
      const scale = view.getFloat16(at, true);
      const high = view.getUint32(at + 2, true);
      for (let i = 0; i < BLOCK / 2; i++) {
        const pair = bytes[at + 6 + i]!;
        const low = pair & 15 | (high >>> i & 1) << 4;
        const upper = pair >> 4 | (high >>> i + 16 & 1) << 4;
        values[to + i] = scale * (low - 16);
        values[to + i + BLOCK / 2] = scale * (upper - 16);
      }
    },
  },
  Q4_K: {
    ...{ id: 12, elements: SUPER_BLOCK, bytes: 2 + 2 + 12 + 128 },
    decode(source, at, values, to) {
      decodeK(source, at, values, to, at + 16, undefined);
    },
  },
  Q5_K: {
    ...{ id: 13, elements: SUPER_BLOCK, bytes: 2 + 2 + 12 + 32 + 128 },
    decode(source, at, values, to) {
      decodeK(source, at, values, to, at + 48, at + 16);
    },
  },
  Q6_K: {
    ...{ id: 14, elements: SUPER_BLOCK, bytes: 128 + 64 + 16 + 2 },
    decode({ bytes, view }, at, values, to) {
      const scale = view.getFloat16(at + 208, true);
      for (let i = 0; i < SUPER_BLOCK; i++) {
        // Each half of the super-block is four runs of 32: two in the low halves of 64 bytes, two in the high ones.
        const half = i >> 7, run = i >> 5 & 3, place = i & 31;
        const low = bytes[at + 64 * half + 32 * (run & 1) + place]! >> 4 * (run >> 1) & 15;
        const high = bytes[at + 128 + 32 * half + place]! >> 2 * run & 3;
        const ofBlock = view.getInt8(at + 192 + (i >> 4));
        values[to + i] = fround(scale * ofBlock) * ((low | high << 4) - 32);
      }
    },
  },
};

const word = new Uint32Array(1);
const wordAsFloat = new Float32Array(word.buffer);

/** Rounds to the nearest integer, halves away from 0, as C's `roundf` does. */
function roundAway(x: number): number {
  return Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
}

/**
 * Decodes `Q4_K` and `Q5_K`: eight blocks of 32 codes, each with a scale and a minimum of six bits, which have scales
 * of their own. The codes' lower four bits are at `low`, the fifth at `high`.
 */
function decodeK(
  { bytes, view }: Source,
  at: number,
  values: Float32Array,
  to: number,
  low: number,
  high: number | undefined,
): void {
  const scale = view.getFloat16(at, true), minScale = view.getFloat16(at + 2, true);
  for (let block = 0; block < 8; block++) {
    const sixBits = at + 4 + block;
    const [d, m] = block < 4 ? [bytes[sixBits]! & 63, bytes[sixBits + 4]! & 63] : [
      bytes[sixBits + 4]! & 15 | bytes[sixBits - 4]! >> 6 << 4,
      bytes[sixBits + 4]! >> 4 | bytes[sixBits]! >> 6 << 4,
    ];
    const factor = fround(scale * d), min = fround(minScale * m);
    for (let i = 0; i < 32; i++) {
      let code = bytes[low + 32 * (block >> 1) + i]! >> 4 * (block & 1) & 15;
      if (high !== undefined) code |= (bytes[high + i]! >> block & 1) << 4;
      values[to + 32 * block + i] = fround(factor * code) - min;
    }
  }
}

/** Returns the bytes of `count` numbers; `count` is a multiple of the type's block. */
export function ggmlBytes(type: GgmlType, count: number): number {
  const { elements, bytes } = GGML_TYPES[type];
  return count / elements * bytes;
}

/** Decodes stored blocks to float32. */
export function decodeGgml(type: GgmlType, stored: Uint8Array): Float32Array {
  const format = GGML_TYPES[type];
  const values = new Float32Array(stored.byteLength / format.bytes * format.elements);
  const source = sourceOf(stored);
  for (let at = 0, to = 0; to < values.length; at += format.bytes, to += format.elements) {
    format.decode(source, at, values, to);
  }
  return values;
}

/**
 * Encodes numbers as blocks. `Q8_0` and `Q4_0` give the same bits as llama.cpp's reference functions.
 *
 * @throws {RangeError} unless the numbers fill whole blocks
 */
export function encodeGgml(type: WritableGgmlType, values: Float32Array): Uint8Array {
  const format = GGML_TYPES[type];
  if (values.length % format.elements !== 0) {
    throw new RangeError(
      `encodeGgml: expected a multiple of ${format.elements} numbers for ${type} but got ${values.length}`,
    );
  }
  const stored = new Uint8Array(ggmlBytes(type, values.length));
  const target = sourceOf(stored);
  for (let at = 0, from = 0; from < values.length; at += format.bytes, from += format.elements) {
    format.encode!(values, from, target, at);
  }
  return stored;
}

function sourceOf(bytes: Uint8Array): Source {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}
