// The header of a GGUF file: counts, metadata by key, and the type, shape and offset of each tensor. It is not trusted
// when read, and strictly valid when written. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
import type { ByteSource } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";
import { GGML_TYPES, ggmlBytes, type GgmlType } from "./ggml_blocks.ts";
import { shown } from "./json_text.ts";

/** The typed arrays that hold metadata arrays of numbers, by their type in the file. */
export interface GgufNumbers {
  /** Unsigned, 8 bits. */
  readonly u8: Uint8Array;
  /** Signed, 8 bits. */
  readonly i8: Int8Array;
  /** Unsigned, 16 bits. */
  readonly u16: Uint16Array;
  /** Signed, 16 bits. */
  readonly i16: Int16Array;
  /** Unsigned, 32 bits. */
  readonly u32: Uint32Array;
  /** Signed, 32 bits. */
  readonly i32: Int32Array;
  /** Floating point, 32 bits. */
  readonly f32: Float32Array;
  /** Unsigned, 64 bits. */
  readonly u64: BigUint64Array;
  /** Signed, 64 bits. */
  readonly i64: BigInt64Array;
  /** Floating point, 64 bits. */
  readonly f64: Float64Array;
}

type NumberType = keyof GgufNumbers;

const ARRAYS = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f64: Float64Array,
} as const;

/** The values of a metadata array: a typed array of numbers, or a list. */
export type GgufArray =
  | {
    readonly [T in keyof GgufNumbers]: {
      readonly type: "array";
      readonly of: T;
      readonly value: GgufNumbers[T];
    };
  }[keyof GgufNumbers]
  | { readonly type: "array"; readonly of: "bool"; readonly value: readonly boolean[] }
  | { readonly type: "array"; readonly of: "string"; readonly value: readonly string[] }
  | { readonly type: "array"; readonly of: "array"; readonly value: readonly GgufArray[] };

/** A metadata value with its type in the file. */
export type GgufValue =
  | { readonly type: Exclude<keyof GgufNumbers, "u64" | "i64">; readonly value: number }
  | { readonly type: "u64" | "i64"; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | GgufArray;

/** What the header of a GGUF file says about a tensor. */
export interface GgufTensorInfo {
  /** The element type. */
  readonly type: GgmlType;
  /** The lengths of the axes, outermost first; the file has them in reverse order. */
  readonly shape: readonly number[];
  /** The number of elements. */
  readonly count: number;
  /** The offset of the first byte in the file. */
  readonly offset: number;
  /** The length in bytes. */
  readonly byteLength: number;
}

/** A checked header. */
export interface GgufHeader {
  /** The metadata by key, in the order of the file. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** The tensors by name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
}

/** The types of values, by their numbers in files. */
const VALUE_TYPES: readonly GgufValue["type"][] = [
  ...["u8", "i8", "u16", "i16", "u32", "i32", "f32"] as const,
  ...["bool", "string", "array", "u64", "i64", "f64"] as const,
];
const TYPES_BY_ID: ReadonlyMap<number, GgmlType> = new Map(
  Object.entries(GGML_TYPES).map(([name, { id }]) => [id, name as GgmlType]),
);
const MAGIC = 0x46554747; // "GGUF"
/** Version 2 is the same as version 3 in this byte order. */
const VERSIONS = [2, 3];
/** Tensors begin at multiples of this, unless the metadata says otherwise. */
const DEFAULT_ALIGNMENT = 32;
const ALIGNMENT_KEY = "general.alignment";
const MAX_AXES = 4;
/** The nesting depth of arrays, beyond what anybody writes. */
const MAX_DEPTH = 4;
/** A vocabulary of a million tokens with its merges takes a tenth of this. */
const MAX_HEADER_BYTES = 2 ** 28;
const FIRST_WINDOW = 2 ** 18;

/** Thrown inside this file if the header extends beyond the bytes that were read. */
class NeedsMore {
  constructor(readonly bytes: number) {}
}

/**
 * Reads and checks a header; nothing is allocated by a number that the actual size of the file contradicts.
 *
 * @throws {FileFormatError} where the file is foreign, cut short, or its header contradicts itself
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  for (let window = FIRST_WINDOW;;) {
    const bytes = new Uint8Array(Math.min(window, source.size));
    await source.readInto(bytes, 0);
    try {
      return new HeaderReader(bytes, source).read();
    } catch (more) {
      if (!(more instanceof NeedsMore)) throw more;
      window = Math.max(4 * window, more.bytes);
    }
  }
}

class HeaderReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #source: ByteSource;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #at = 0;

  constructor(bytes: Uint8Array, source: ByteSource) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.#source = source;
  }

  read(): GgufHeader {
    if (this.#source.size < 24) {
      this.#refuse(`expected a GGUF file of 24 bytes or more but got ${this.#source.size}`, 0);
    }
    if (this.#u32() !== MAGIC) this.#refuse(`expected a GGUF file but got another beginning`, 0);
    const version = this.#u32();
    if (!VERSIONS.includes(version)) {
      this.#refuse(`expected GGUF version ${VERSIONS.join(" or ")} but got ${version}`, 4);
    }
    // The shortest entry of each kind has the length of a name and a type, or the length of a name, axes, a type and an
    // offset.
    const tensorCount = this.#count(24, "tensors");
    const metadata = this.#metadata(this.#count(13, "values"));
    return { metadata, tensors: this.#tensors(tensorCount, this.#alignment(metadata)) };
  }

  #metadata(count: number): Map<string, GgufValue> {
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < count; i++) {
      const start = this.#at;
      const key = this.#string();
      if (metadata.has(key)) {
        this.#refuse(`expected each key once but got ${shown(key)} twice`, start);
      }
      metadata.set(key, this.#value(this.#valueType(), 0));
    }
    return metadata;
  }

  #value(type: GgufValue["type"], depth: number): GgufValue {
    if (type === "string") return { type, value: this.#string() };
    if (type === "bool") return { type, value: this.#bool() };
    if (type === "array") return this.#array(depth);
    return { type, value: this.#numbers(type, 1)[0]! } as GgufValue;
  }

  #array(depth: number): GgufArray {
    const start = this.#at;
    if (depth === MAX_DEPTH) {
      this.#refuse(`expected arrays at most ${MAX_DEPTH} deep but got deeper ones`, start);
    }
    const of = this.#valueType();
    const type = "array";
    if (of === "bool") {
      return {
        type,
        of,
        value: Array.from({ length: this.#count(1, "elements") }, () => this.#bool()),
      };
    }
    if (of === "string") {
      return {
        type,
        of,
        value: Array.from({ length: this.#count(8, "texts") }, () => this.#string()),
      };
    }
    if (of === "array") {
      const length = this.#count(12, "arrays");
      return { type, of, value: Array.from({ length }, () => this.#array(depth + 1)) };
    }
    const length = this.#count(ARRAYS[of].BYTES_PER_ELEMENT, "elements");
    return { type, of, value: this.#numbers(of, length) } as GgufArray;
  }

  #alignment(metadata: ReadonlyMap<string, GgufValue>): number {
    const found = metadata.get(ALIGNMENT_KEY);
    if (found === undefined) return DEFAULT_ALIGNMENT;
    if (found.type === "u32" && isAlignment(found.value)) return found.value;
    return this.#refuse(
      `expected ${ALIGNMENT_KEY} to be a power of two of u32 but got ${shown(String(found.value))}`,
      this.#at,
    );
  }

  #tensors(count: number, alignment: number): Map<string, GgufTensorInfo> {
    const tensors = new Map<string, GgufTensorInfo>();
    const starts = new Map<string, number>();
    for (let i = 0; i < count; i++) {
      const start = this.#at;
      const name = this.#string();
      if (tensors.has(name)) {
        this.#refuse(`expected each tensor once but got ${shown(name)} twice`, start);
      }
      starts.set(name, start);
      tensors.set(name, this.#tensor(name, alignment));
    }
    const dataOffset = aligned(this.#at, alignment);
    // In most files they already are in this order; an empty tensor may begin where the next one does.
    const inOrder = [...tensors].sort(([, a], [, b]) =>
      a.offset - b.offset || a.byteLength - b.byteLength
    );
    let end = 0;
    for (const [name, { offset, byteLength }] of inOrder) {
      if (offset < end) {
        this.#refuse(
          `tensor ${shown(name)}: expected it after the one before but got an overlap`,
          starts.get(name)!,
        );
      }
      end = offset + byteLength;
      if (dataOffset + end > this.#source.size) {
        this.#refuse(
          `cut short: expected tensor ${shown(name)} up to byte ${
            dataOffset + end
          } but got a file of ` +
            this.#source.size,
          starts.get(name)!,
        );
      }
      tensors.set(name, { ...tensors.get(name)!, offset: dataOffset + offset });
    }
    return tensors;
  }

  /** Reads one tensor, with its offset from the end of the header. */
  #tensor(name: string, alignment: number): GgufTensorInfo {
    const start = this.#at;
    const axes = this.#u32();
    if (axes > MAX_AXES) {
      this.#refuse(
        `tensor ${shown(name)}: expected at most ${MAX_AXES} axes but got ${axes}`,
        start,
      );
    }
    const shape = Array.from({ length: axes }, () => this.#u64("length of an axis")).reverse();
    const count = shape.reduce((a, b) => a * b, 1);
    const id = this.#u32();
    const type = TYPES_BY_ID.get(id);
    if (type === undefined) {
      return this.#refuse(
        `tensor ${shown(name)}: expected one of ${
          Object.keys(GGML_TYPES).join(", ")
        } but got type ${id}`,
        this.#at - 4,
      );
    }
    if (!Number.isSafeInteger(count) || (shape.at(-1) ?? 1) % GGML_TYPES[type].elements !== 0) {
      this.#refuse(
        `tensor ${shown(name)}: expected a shape for ${type} but got ${shown(shape)}`,
        start,
      );
    }
    const offset = this.#u64("offset of a tensor");
    if (offset % alignment !== 0) {
      this.#refuse(
        `tensor ${shown(name)}: expected an offset of a multiple of ${alignment} but got ${offset}`,
        this.#at - 8,
      );
    }
    return { type, shape, count, offset, byteLength: ggmlBytes(type, count) };
  }

  /** Reads a count of items with at least `bytesEach` bytes each, all of which must be in the file. */
  #count(bytesEach: number, what: string): number {
    const count = this.#u64(`number of ${what}`);
    const left = this.#source.size - this.#at;
    if (count * bytesEach <= left) return count;
    return this.#refuse(
      `cut short or not a GGUF file: expected ${count} ${what} but got ${left} bytes`,
      this.#at - 8,
    );
  }

  #valueType(): GgufValue["type"] {
    const id = this.#u32();
    return VALUE_TYPES[id] ??
      this.#refuse(`expected a value of type 0 to 12 but got ${id}`, this.#at - 4);
  }

  #numbers<T extends NumberType>(type: T, count: number): GgufNumbers[T] {
    const array = ARRAYS[type];
    const at = this.#take(count * array.BYTES_PER_ELEMENT);
    const bytes = this.#bytes.slice(at, this.#at);
    return new array(bytes.buffer) as GgufNumbers[T];
  }

  #bool(): boolean {
    const at = this.#take(1);
    const byte = this.#bytes[at]!;
    if (byte > 1) this.#refuse(`expected a truth value of 0 or 1 but got ${byte}`, at);
    return byte === 1;
  }

  #string(): string {
    const length = this.#count(1, "bytes of a text");
    const at = this.#take(length);
    try {
      return this.#decoder.decode(this.#bytes.subarray(at, at + length));
    } catch {
      return this.#refuse("expected UTF-8 but got other bytes", at);
    }
  }

  #u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  #u64(what: string): number {
    const at = this.#take(8);
    const value = this.#view.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.#refuse(`expected a ${what} below 2^53 but got ${value}`, at);
    }
    return Number(value);
  }

  /** Advances by `bytes`, and returns where they begin. */
  #take(bytes: number): number {
    const at = this.#at, end = at + bytes;
    if (end > this.#source.size) {
      this.#refuse(`cut short: expected ${bytes} more bytes but got ${this.#source.size - at}`, at);
    }
    if (end > MAX_HEADER_BYTES) {
      this.#refuse(
        `expected a header of at most ${MAX_HEADER_BYTES} bytes but got a longer one`,
        at,
      );
    }
    if (end > this.#bytes.length) throw new NeedsMore(end);
    this.#at = end;
    return at;
  }

  #refuse(message: string, offset: number): never {
    throw new FileFormatError(message, { file: this.#source.name, offset });
  }
}

/** An encoded header, and what follows it. */
export interface EncodedGgufHeader {
  /** The bytes before the first tensor. */
  readonly header: Uint8Array;
  /** The number of bytes of each tensor, without padding. */
  readonly lengths: readonly number[];
  /** Tensors begin at multiples of this. */
  readonly alignment: number;
}

/**
 * Encodes the header of a file with these tensors in this order, each padded to the alignment.
 *
 * @throws {RangeError} where a name comes twice, or a shape is none or does not fill whole blocks
 */
export function encodeGgufHeader(
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: readonly {
    readonly name: string;
    readonly type: GgmlType;
    readonly shape: readonly number[];
  }[],
): EncodedGgufHeader {
  const values = new Map(metadata);
  const given = values.get(ALIGNMENT_KEY);
  const alignment = given === undefined ? DEFAULT_ALIGNMENT : Number(given.value);
  if (!isAlignment(alignment)) {
    throw new RangeError(
      `writeGguf: expected ${ALIGNMENT_KEY} to be a power of two but got ${alignment}`,
    );
  }
  const out = new HeaderWriter();
  out.u32(MAGIC);
  out.u32(3);
  out.u64(tensors.length);
  out.u64(values.size);
  for (const [key, value] of values) {
    out.string(key);
    out.u32(VALUE_TYPES.indexOf(value.type));
    out.value(value);
  }
  const names = new Set<string>();
  const lengths: number[] = [];
  let offset = 0;
  for (const { name, type, shape } of tensors) {
    if (names.has(name)) {
      throw new RangeError(`writeGguf: expected each tensor once but got ${shown(name)} twice`);
    }
    names.add(name);
    const length = checkedBytes(name, type, shape);
    out.string(name);
    out.u32(shape.length);
    for (const axis of shape.toReversed()) out.u64(axis);
    out.u32(GGML_TYPES[type].id);
    out.u64(offset);
    lengths.push(length);
    offset = aligned(offset + length, alignment);
  }
  out.pad(alignment);
  return { header: out.bytes(), lengths, alignment };
}

function checkedBytes(name: string, type: GgmlType, shape: readonly number[]): number {
  const count = shape.reduce((a, b) => a * b, 1);
  const { elements } = GGML_TYPES[type];
  const isShape = shape.length <= MAX_AXES && shape.every((n) => Number.isSafeInteger(n) && n >= 0);
  if (isShape && Number.isSafeInteger(count) && (shape.at(-1) ?? 1) % elements === 0) {
    return ggmlBytes(type, count);
  }
  throw new RangeError(
    `writeGguf: expected tensor ${
      shown(name)
    } to have at most ${MAX_AXES} axes, the last a multiple of ` +
      `${elements} for ${type}, but got [${shape}]`,
  );
}

/** A buffer for appending bytes, which doubles when it is full. */
class HeaderWriter {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u32(value: number): void {
    const at = this.#more(4); // which may replace the view
    this.#view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#more(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    const at = this.#more(bytes.length);
    this.#bytes.set(bytes, at);
  }

  value(value: GgufValue): void {
    if (value.type === "string") return this.string(value.value);
    if (value.type === "bool") return this.#numbers(Uint8Array.of(Number(value.value)));
    if (value.type !== "array") {
      // deno-lint-ignore no-explicit-any -- the constructors take numbers or bigints, as the type of the value says
      return this.#numbers((ARRAYS[value.type] as any).of(value.value));
    }
    this.u32(VALUE_TYPES.indexOf(value.of));
    this.u64(value.value.length);
    if (value.of === "string") { for (const text of value.value) this.string(text); }
    else if (value.of === "bool") this.#numbers(Uint8Array.from(value.value, Number));
    else if (value.of === "array") { for (const inner of value.value) this.value(inner); }
    else this.#numbers(value.value);
  }

  /** Appends zeros up to a multiple of `alignment`. */
  pad(alignment: number): void {
    this.#more(aligned(this.#length, alignment) - this.#length);
  }

  /** Returns everything that was written. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #numbers(numbers: ArrayBufferView): void {
    const at = this.#more(numbers.byteLength);
    this.#bytes.set(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), at);
  }

  /** Makes room for `count` bytes, and returns where they begin. */
  #more(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

function isAlignment(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 2 ** 20 && (value & value - 1) === 0;
}

/** Rounds up to a multiple of `alignment`. */
export function aligned(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}
