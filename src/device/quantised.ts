/**
 * The memory layouts of what is quantised. Matrices: unlike in files, whose blocks of 34 or 18 bytes are not whole
 * 32-bit words, all codes come first and then all scales, each at an offset where a kernel can bind them. Keys and
 * values in a cache: each head of each position has its codes of 8 bits and then its scale, in whole words of `u32`, so
 * that it is written, moved and read by itself.
 *
 * @module
 */
import { BLOCK, decodeGgml, encodeGgml, GGML_TYPES } from "../io/ggml_blocks.ts";

/**
 * Dtypes of matrices that are only multiplied with: 32 elements of 8 or 4 bits share a scale, as in llama.cpp's files.
 */
export type QuantisedType = "q8_0" | "q4_0";

/** The names of the types in GGUF files. */
const STORED = { q8_0: "Q8_0", q4_0: "Q4_0" } as const;
/** Scales begin at a multiple of this, as bindings of every device may. */
const ALIGNMENT = 256;

/** Where codes and scales are, in 32-bit words. */
export interface QuantisedLayout {
  /** Words of codes. A code takes a byte, or half a byte in `q4_0`. */
  readonly codeWords: number;
  /** The first word of scales: two f16 per word, one for each 32 elements. */
  readonly scaleStart: number;
  /** Words of scales. */
  readonly scaleWords: number;
}

/** The layout of `size` elements, a multiple of 32. */
export function quantisedLayout(dtype: QuantisedType, size: number): QuantisedLayout {
  const codeWords = dtype === "q8_0" ? size / 4 : size / 8;
  return {
    codeWords,
    scaleStart: Math.ceil(4 * codeWords / ALIGNMENT) * ALIGNMENT / 4,
    scaleWords: Math.ceil(size / BLOCK / 2),
  };
}

/** The bytes of `size` elements. */
export function quantisedBytes(dtype: QuantisedType, size: number): number {
  const { scaleStart, scaleWords } = quantisedLayout(dtype, size);
  return 4 * (scaleStart + scaleWords);
}

/** Encodes numbers for device memory. Numbers that were quantised before get the same codes again. */
export function quantised(dtype: QuantisedType, values: Float32Array): Uint8Array {
  return fromBlocks(dtype, encodeGgml(STORED[dtype], values));
}

function fromBlocks(dtype: QuantisedType, blocks: Uint8Array): Uint8Array {
  const { bytes, elements } = GGML_TYPES[STORED[dtype]];
  const size = blocks.length / bytes * elements;
  const memory = new Uint8Array(quantisedBytes(dtype, size));
  const scales = 4 * quantisedLayout(dtype, size).scaleStart;
  const codes = bytes - 2;
  for (let block = 0, at = 0; at < blocks.length; block++, at += bytes) {
    memory[scales + 2 * block] = blocks[at]!;
    memory[scales + 2 * block + 1] = blocks[at + 1]!;
    for (let i = 0; i < codes; i++) memory[codes * block + i] = blocks[at + 2 + i]!;
  }
  return memory;
}

function toBlocks(dtype: QuantisedType, memory: Uint8Array, size: number): Uint8Array {
  const { bytes, elements } = GGML_TYPES[STORED[dtype]];
  const blocks = new Uint8Array(size / elements * bytes);
  const scales = 4 * quantisedLayout(dtype, size).scaleStart;
  const codes = bytes - 2;
  for (let block = 0, at = 0; at < blocks.length; block++, at += bytes) {
    blocks[at] = memory[scales + 2 * block]!;
    blocks[at + 1] = memory[scales + 2 * block + 1]!;
    for (let i = 0; i < codes; i++) blocks[at + 2 + i] = memory[codes * block + i]!;
  }
  return blocks;
}

/** Decodes numbers from device memory. */
export function dequantised(dtype: QuantisedType, memory: Uint8Array, size: number): Float32Array {
  return decodeGgml(STORED[dtype], toBlocks(dtype, memory, size));
}

/** Reads single numbers from the codes and scales of a launch, for reference implementations. */
export function quantisedReader(
  dtype: QuantisedType,
  codes: Uint32Array,
  scales: Uint32Array,
): (index: number) => number {
  const bytes = new Int8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  const halves = new Float16Array(
    scales.buffer as ArrayBuffer,
    scales.byteOffset,
    2 * scales.length,
  );
  if (dtype === "q8_0") return (index) => halves[index >> 5]! * bytes[index]!;
  return (index) => {
    const pair = bytes[(index >> 5 << 4) + (index & 15)]!;
    return halves[index >> 5]! * ((pair >> (index >> 2 & 4) & 15) - 8);
  };
}

/** The words of a head of `size` numbers in int8: four codes a word, and the bits of the f32 scale in the last word. */
export function int8Words(size: number): number {
  return Math.ceil(size / 4) + 1;
}

/** The numbers of a head in int8 that begins at word `at`: code times scale. */
export function fromInt8(words: Uint32Array, at: number, size: number): Float32Array {
  const last = at + int8Words(size) - 1;
  const codes = new Int8Array(words.buffer, words.byteOffset + 4 * at, size);
  const scale = new Float32Array(words.buffer, words.byteOffset + 4 * last, 1)[0]!;
  return Float32Array.from(codes, (code) => code * scale);
}

/**
 * Writes numbers in int8 from word `at` on. The scale is the largest magnitude divided by 127, so a number is off by at
 * most half of that. Where a number is NaN or infinite, none of them remains finite.
 */
export function toInt8(numbers: ArrayLike<number>, words: Uint32Array, at: number): void {
  const size = numbers.length, last = at + int8Words(size) - 1;
  let most = 0;
  for (let i = 0; i < size; i++) most = Math.max(most, Math.abs(numbers[i]!));
  const inverse = most > 1e-30 ? Math.fround(127 / most) : 0;
  words.fill(0, at, last);
  const codes = new Int8Array(words.buffer, words.byteOffset + 4 * at, size);
  for (let i = 0; i < size; i++) codes[i] = nearest(Math.fround(numbers[i]! * inverse));
  new Float32Array(words.buffer, words.byteOffset + 4 * last, 1)[0] = most / 127;
}

/** The nearest integer, the even one of two. */
function nearest(x: number): number {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
