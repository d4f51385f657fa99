// safetensors: an 8-byte header length, a JSON header, then the tensors' raw little-endian bytes.
// Format: https://github.com/huggingface/safetensors#format
// Every machine that Deno runs on is little-endian, so the bytes are the typed array's own.
import { type AtomicFile, type AtomicWriteOptions, writeFileAtomically } from "./atomic_file.ts";
import { type ByteSource, openSource, toPath } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";

/** Element type of a tensor in a safetensors file. */
export type SafetensorsDtype =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "U64"
  | "I32"
  | "U32"
  | "I16"
  | "U16"
  | "I8"
  | "U8"
  | "BOOL";

// BF16 has no typed array: its bits travel in a Uint16Array.
const ARRAY_TYPES = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Float16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} satisfies Record<SafetensorsDtype, unknown>;

/** A typed array with the elements of a tensor; BF16 comes as its bits in a `Uint16Array`. */
export type TensorData =
  | Float64Array
  | Float32Array
  | Float16Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** A tensor that is to be written. */
export interface TensorEntry {
  /** Name in the file; any text but `__metadata__`. */
  name: string;
  /** Element type. */
  dtype: SafetensorsDtype;
  /** Lengths of the axes; empty for a single number. */
  shape: readonly number[];
  /**
   * The elements, or a function that fetches them when their turn comes, so that no more than one
   * tensor need be in memory. F16 may come as `Float16Array` or as bits in a `Uint16Array`.
   */
  data: TensorData | (() => TensorData | Promise<TensorData>);
}

/** What the header of a safetensors file says of a tensor. */
export interface TensorInfo {
  /** Element type. */
  dtype: SafetensorsDtype;
  /** Lengths of the axes; empty for a single number. */
  shape: number[];
  /** Number of elements. */
  count: number;
  /** Offset of the first byte in the file. */
  offset: number;
  /** Length in bytes. */
  byteLength: number;
}

/** The most that the reference implementation accepts; a model of 10,000 tensors needs 1 MB. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";

/**
 * A safetensors file open for reading, tensor by tensor. Nothing that stands in the file is trusted:
 * the header is checked against the file's true size before anything is allocated.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeSafetensors, SafetensorsFile } from "@dinograd/dinograd";
 *
 * const bytes = await encodeSafetensors([
 *   { name: "wte.weight", dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
 * ], { author: "me" });
 * using file = await SafetensorsFile.open(bytes);
 * assert.deepEqual([...file.tensors.keys()], ["wte.weight"]);
 * assert.deepEqual([...await file.read("wte.weight")], [1, 2, 3, 4]);
 * assert.equal(file.metadata.author, "me");
 * ```
 */
export class SafetensorsFile implements Disposable {
  /** The tensors by name, in the order in which their bytes lie in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The file's `__metadata__`; empty where there is none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Path of the file, or a name for bytes in memory. */
  readonly name: string;
  /** Offset of the first byte after the header. */
  readonly dataOffset: number;
  #source: ByteSource;

  private constructor(source: ByteSource, header: Header) {
    this.#source = source;
    this.name = source.name;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
    this.dataOffset = header.dataOffset;
  }

  /**
   * Opens a file by path or URL, or bytes in memory, and reads its header.
   *
   * @throws {FileFormatError} where the file is foreign, cut short, or its header contradicts itself:
   * offsets out of bounds, overlapping or with gaps, sizes that do not fit shape and type
   */
  static async open(from: string | URL | Uint8Array | ByteSource): Promise<SafetensorsFile> {
    const source = await openSource(from);
    try {
      return new SafetensorsFile(source, await readHeader(source));
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** What the header says of a tensor; throws a `RangeError` where there is none of that name. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) throw new RangeError(`${this.name}: has no tensor ${JSON.stringify(name)}`);
    return info;
  }

  /** Reads one tensor in its own type; BF16 as its bits in a `Uint16Array`. */
  async read(name: string): Promise<TensorData> {
    const info = this.info(name);
    const data = new ARRAY_TYPES[info.dtype](info.count);
    await this.#source.readInto(new Uint8Array(data.buffer), info.offset);
    return data;
  }

  /**
   * Reads one floating-point tensor as float32: F32 as it is, F16 and BF16 widened exactly, F64
   * rounded.
   *
   * @throws {TypeError} where the tensor holds integers
   */
  async readFloat32(name: string): Promise<Float32Array> {
    const { dtype } = this.info(name);
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16" && dtype !== "F64") {
      throw new TypeError(`${this.name}: tensor ${JSON.stringify(name)} is ${dtype}, not a float`);
    }
    const data = await this.read(name);
    if (data instanceof Float32Array) return data;
    if (data instanceof Uint16Array) return bfloat16ToFloat32(data);
    return Float32Array.from(data as Float16Array | Float64Array);
  }

  /** Fills `target` from byte `offset` of the file on; for those who check or copy raw bytes. */
  async readBytes(target: Uint8Array, offset: number): Promise<void> {
    await this.#source.readInto(target, offset);
  }

  /** Closes the file; a second call does nothing. */
  close(): void {
    this.#source.close();
  }

  /** Closes the file at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Widens bfloat16, given as bits, to float32; exact. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
  return new Float32Array(wide.buffer);
}

/** Rounds float32 to bfloat16 bits, to nearest with ties to even; a NaN stays a NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const narrow = new Uint16Array(values.length);
  for (let i = 0; i < narrow.length; i++) {
    const b = bits[i];
    narrow[i] = values[i] !== values[i]
      ? (b >>> 16) | 0x40 // rounding could carry a NaN into infinity
      : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return narrow;
}

/**
 * Writes a safetensors file, one tensor after the other, so that no more than one need be in memory.
 * The file appears whole or not at all.
 *
 * @throws {TypeError | RangeError} where data does not fit its type and shape, or a name comes twice
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeSafetensors(
  path: string | URL,
  tensors: Iterable<TensorEntry>,
  metadata: Record<string, string> = {},
  options: AtomicWriteOptions = {},
): Promise<void> {
  const entries = [...tensors];
  const { header, dataBytes } = encodeSafetensorsHeader(entries, metadata);
  await writeFileAtomically(toPath(path), async (file) => {
    await file.write(header);
    await writeTensors(file, entries);
  }, { ...options, bytesWanted: header.byteLength + dataBytes });
}

/** The bytes of a safetensors file; for files that fit into memory twice. */
export async function encodeSafetensors(
  tensors: Iterable<TensorEntry>,
  metadata: Record<string, string> = {},
): Promise<Uint8Array> {
  const entries = [...tensors];
  const { header, dataBytes } = encodeSafetensorsHeader(entries, metadata);
  const bytes = new Uint8Array(header.byteLength + dataBytes);
  bytes.set(header);
  let offset = header.byteLength;
  await writeTensors({
    // deno-lint-ignore require-await
    write: async (part) => {
      bytes.set(part, offset);
      offset += part.byteLength;
    },
  }, entries);
  return bytes;
}

/** The opening of a safetensors file, and how many bytes of tensors will follow it. */
export function encodeSafetensorsHeader(
  tensors: readonly TensorEntry[],
  metadata: Record<string, string>,
): { header: Uint8Array; dataBytes: number } {
  // A Map and not an object: an object would move names that look like numbers to the front.
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"${METADATA}":${JSON.stringify(metadata)}`);
  const names = new Set<string>();
  let dataBytes = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name === METADATA || names.has(name)) {
      throw new RangeError(
        `Tensor name ${JSON.stringify(name)} ${name === METADATA ? "is reserved" : "comes twice"}`,
      );
    }
    names.add(name);
    const end = dataBytes + byteLengthOf(name, dtype, shape);
    const info = { dtype, shape, data_offsets: [dataBytes, end] };
    parts.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`);
    dataBytes = end;
  }
  const json = new TextEncoder().encode(`{${parts.join(",")}}`);
  // Padded with spaces so that the data is aligned to 8 bytes.
  const length = Math.ceil(json.byteLength / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return { header, dataBytes };
}

/** Hands the tensors' bytes in order to `file`, fetching each when its turn comes. */
export async function writeTensors(
  file: Pick<AtomicFile, "write">,
  tensors: Iterable<TensorEntry>,
): Promise<void> {
  for (const entry of tensors) {
    const data = typeof entry.data === "function" ? await entry.data() : entry.data;
    const { name, dtype, shape } = entry;
    const type = ARRAY_TYPES[dtype];
    if (!(data instanceof type) && !(dtype === "F16" && data instanceof Uint16Array)) {
      throw new TypeError(
        `Tensor ${JSON.stringify(name)}: ${dtype} wants a ${type.name}, found ${
          Object.prototype.toString.call(data)
        }`,
      );
    }
    const wanted = byteLengthOf(name, dtype, shape);
    if (data.byteLength !== wanted) {
      throw new RangeError(
        `Tensor ${JSON.stringify(name)}: ${dtype} of shape [${shape}] has ${wanted} bytes, ` +
          `found ${data.byteLength}`,
      );
    }
    await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
}

function byteLengthOf(name: string, dtype: SafetensorsDtype, shape: readonly number[]): number {
  const type = ARRAY_TYPES[dtype];
  if (type === undefined) throw new TypeError(`Tensor ${JSON.stringify(name)}: no type ${dtype}`);
  const count = shape.reduce((a, b) => a * b, 1);
  if (!Number.isSafeInteger(count) || shape.some((n) => !Number.isSafeInteger(n) || n < 0)) {
    throw new RangeError(`Tensor ${JSON.stringify(name)}: [${shape}] is not a shape`);
  }
  return count * type.BYTES_PER_ELEMENT;
}

interface Header {
  tensors: Map<string, TensorInfo>;
  metadata: Record<string, string>;
  dataOffset: number;
}

async function readHeader(source: ByteSource): Promise<Header> {
  const refuse = (message: string, offset: number): never => {
    throw new FileFormatError(message, { file: source.name, offset });
  };
  if (source.size < 8) refuse("is not a safetensors file: shorter than 8 bytes", source.size);
  const lengthBytes = new Uint8Array(8);
  await source.readInto(lengthBytes, 0);
  const length = Number(new DataView(lengthBytes.buffer).getBigUint64(0, true));
  if (length > source.size - 8 || length > MAX_HEADER_BYTES) {
    refuse(
      `is cut short or not a safetensors file: claims a header of ${length} bytes in a file of ` +
        `${source.size} bytes`,
      0,
    );
  }
  const bytes = new Uint8Array(length);
  await source.readInto(bytes, 8);
  const json = parseJson(bytes, (message) => refuse(message, 8));
  const dataOffset = 8 + length;

  const metadata: Record<string, string> = {};
  const found: [string, TensorInfo][] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === METADATA) {
      Object.assign(metadata, readMetadata(value, (message) => refuse(message, 8)));
    } else {
      const info = readInfo(value, dataOffset);
      if (typeof info === "string") refuse(`tensor ${JSON.stringify(name)} ${info}`, 8);
      else found.push([name, info]);
    }
  }

  // As the format demands, the tensors cover the rest of the file, without overlap and without gaps.
  found.sort((a, b) => a[1].offset - b[1].offset || a[1].byteLength - b[1].byteLength);
  let end = dataOffset;
  for (const [name, { offset, byteLength }] of found) {
    if (offset !== end) {
      const what = offset < end ? "overlaps the one before it" : "leaves a gap before it";
      refuse(`tensor ${JSON.stringify(name)} ${what}`, offset);
    }
    end += byteLength;
  }
  if (end > source.size) {
    refuse(`is cut short: its tensors need ${end} bytes, the file has ${source.size}`, source.size);
  }
  if (end < source.size) refuse(`has ${source.size - end} bytes after its last tensor`, end);
  return { tensors: new Map(found), metadata, dataOffset };
}

function parseJson(bytes: Uint8Array, refuse: (message: string) => never): object {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`has a header that is not JSON: ${(error as Error).message}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    refuse("has a header that is not a JSON object");
  }
  return json as object;
}

function readMetadata(
  value: unknown,
  refuse: (message: string) => never,
): Record<string, string> {
  const isText = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((text) => typeof text === "string");
  if (!isText) refuse(`has a ${METADATA} that is not an object of strings`);
  return value as Record<string, string>;
}

/** The entry of one tensor, or what is wrong with it. */
function readInfo(value: unknown, dataOffset: number): TensorInfo | string {
  if (typeof value !== "object" || value === null) return "is not described by an object";
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAY_TYPES, dtype)) {
    return `has the unknown type ${JSON.stringify(dtype)}`;
  }
  const isLength = (n: unknown) => typeof n === "number" && Number.isSafeInteger(n) && n >= 0;
  if (!Array.isArray(shape) || !shape.every(isLength)) {
    return `has the impossible shape ${JSON.stringify(shape)}`;
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isLength)) {
    return `has the impossible data_offsets ${JSON.stringify(offsets)}`;
  }
  const count = (shape as number[]).reduce((a, b) => a * b, 1);
  const [begin, end] = offsets as number[];
  const wanted = count * ARRAY_TYPES[dtype as SafetensorsDtype].BYTES_PER_ELEMENT;
  if (end - begin !== wanted) {
    return `of type ${dtype} and shape [${shape}] needs ${wanted} bytes but spans ${end - begin}`;
  }
  return {
    dtype: dtype as SafetensorsDtype,
    shape: shape as number[],
    count,
    offset: dataOffset + begin,
    byteLength: wanted,
  };
}
