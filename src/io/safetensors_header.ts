// The header of a safetensors file: an 8-byte length, then JSON with the type, shape and offset of each tensor. It is
// not trusted when read, and strictly valid when written. Format: https://github.com/huggingface/safetensors#format
import type { ByteSource } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";
import { parseJson as parseJsonText, shown } from "./json_text.ts";

/** The element type of a tensor in a safetensors file. */
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

/** The typed array of each type; BF16 has none, so its bits are in a `Uint16Array`. */
export const ARRAY_TYPES = {
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

/** A typed array with the elements of a tensor; BF16 as bits in a `Uint16Array`. */
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

/** A tensor to write. */
export interface TensorEntry {
  /** The name in the file; any text but `__metadata__`. */
  name: string;
  /** The element type. */
  dtype: SafetensorsDtype;
  /** The lengths of the axes; empty for a single number. */
  shape: readonly number[];
  /**
   * The elements, or a function that returns them when their turn comes, so that only one tensor at a time need be in
   * memory. F16 may be given as a `Float16Array` or as bits in a `Uint16Array`.
   */
  data: TensorData | (() => TensorData | Promise<TensorData>);
}

/** What the header of a safetensors file says about a tensor. */
export interface TensorInfo {
  /** The element type. */
  dtype: SafetensorsDtype;
  /** The lengths of the axes; empty for a single number. */
  shape: number[];
  /** The number of elements. */
  count: number;
  /** The offset of the first byte in the file. */
  offset: number;
  /** The length in bytes. */
  byteLength: number;
}

/** The maximum that the reference implementation accepts; a model of 10,000 tensors needs 1 MB. */
const MAX_HEADER_BYTES = 100_000_000;
const METADATA = "__metadata__";

/** Encodes everything before the tensors of a safetensors file, and returns how many bytes of tensors follow. */
export function encodeSafetensorsHeader(
  tensors: readonly TensorEntry[],
  metadata: Record<string, string> = {},
): { header: Uint8Array; dataBytes: number } {
  // Not `JSON.stringify` of an object, which would move names that look like numbers to the front.
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"${METADATA}":${JSON.stringify(metadata)}`);
  const names = new Set<string>();
  let dataBytes = 0;
  for (const { name, dtype, shape } of tensors) {
    if (name === METADATA || names.has(name)) {
      throw new RangeError(
        `safetensors: expected tensors of different names, none "${METADATA}", but got ${
          JSON.stringify(name)
        }`,
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

/** Returns the bytes that a tensor takes; throws if its type or shape is invalid. */
export function byteLengthOf(
  name: string,
  dtype: SafetensorsDtype,
  shape: readonly number[],
): number {
  const type = ARRAY_TYPES[dtype];
  if (type === undefined) {
    throw new TypeError(
      `safetensors: expected a known type for ${JSON.stringify(name)} but got ${dtype}`,
    );
  }
  const count = shape.reduce((a, b) => a * b, 1);
  if (!Number.isSafeInteger(count) || shape.some((n) => !Number.isSafeInteger(n) || n < 0)) {
    throw new RangeError(
      `safetensors: expected integers as the shape of ${JSON.stringify(name)} but got [${shape}]`,
    );
  }
  return count * type.BYTES_PER_ELEMENT;
}

/** A checked header. */
export interface SafetensorsHeader {
  /** The tensors by name, in the order of their bytes. */
  tensors: Map<string, TensorInfo>;
  /** The `__metadata__`; empty if there is none. */
  metadata: Record<string, string>;
  /** The offset of the first byte after the header. */
  dataOffset: number;
}

/**
 * Reads and checks a header; nothing is allocated by a number that the actual size of the file contradicts.
 *
 * @throws {FileFormatError} where the file is foreign, cut short, or its header contradicts itself
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const refuse = (message: string, offset: number): never => {
    throw new FileFormatError(message, { file: source.name, offset });
  };
  if (source.size < 8) {
    refuse(`expected a safetensors file of 8 bytes or more but got ${source.size}`, source.size);
  }
  const lengthBytes = new Uint8Array(8);
  await source.readInto(lengthBytes, 0);
  const length = Number(new DataView(lengthBytes.buffer).getBigUint64(0, true));
  if (length > source.size - 8 || length > MAX_HEADER_BYTES) {
    refuse(
      `cut short or not a safetensors file: expected a header of ${length} bytes but got a file of ` +
        `${source.size}`,
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
      if (typeof info === "string") refuse(`tensor ${shown(name)}: ${info}`, 8);
      else found.push([name, info]);
    }
  }

  // As the format requires, the tensors cover the rest of the file without overlaps or gaps.
  found.sort((a, b) => a[1].offset - b[1].offset || a[1].byteLength - b[1].byteLength);
  let end = dataOffset;
  for (const [name, { offset, byteLength }] of found) {
    if (offset !== end) {
      refuse(
        `tensor ${
          shown(name)
        }: expected it to begin at byte ${end}, after the one before, but got ${offset}`,
        offset,
      );
    }
    end += byteLength;
  }
  if (end > source.size) {
    refuse(`cut short: expected ${end} bytes but got ${source.size}`, source.size);
  }
  if (end < source.size) {
    refuse(
      `expected the end of the file but got ${source.size - end} bytes after the last tensor`,
      end,
    );
  }
  return { tensors: new Map(found), metadata, dataOffset };
}

function parseJson(bytes: Uint8Array, refuse: (message: string) => never): object {
  let json: unknown;
  try {
    json = parseJsonText(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`expected a header of JSON: ${(error as Error).message}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    refuse(`expected a header that is a JSON object but got ${shown(json)}`);
  }
  return json as object;
}

function readMetadata(
  value: unknown,
  refuse: (message: string) => never,
): Record<string, string> {
  const isText = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((text) => typeof text === "string");
  if (!isText) refuse(`expected an object of strings as ${METADATA} but got ${shown(value)}`);
  return value as Record<string, string>;
}

/** Returns the entry of one tensor, or what is wrong with it. */
function readInfo(value: unknown, dataOffset: number): TensorInfo | string {
  if (typeof value !== "object" || value === null) {
    return `expected an object but got ${shown(value)}`;
  }
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAY_TYPES, dtype)) {
    return `expected a known type but got ${shown(dtype)}`;
  }
  const isLength = (n: unknown) => typeof n === "number" && Number.isSafeInteger(n) && n >= 0;
  if (!Array.isArray(shape) || !shape.every(isLength)) {
    return `expected a shape of integers but got ${shown(shape)}`;
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isLength)) {
    return `expected two integers as data_offsets but got ${shown(offsets)}`;
  }
  const count = (shape as number[]).reduce((a, b) => a * b, 1);
  const [begin, end] = offsets as [number, number];
  const wanted = count * ARRAY_TYPES[dtype as SafetensorsDtype].BYTES_PER_ELEMENT;
  if (end - begin !== wanted) {
    return `expected ${wanted} bytes for ${dtype} of shape ${shown(shape)} but got ${end - begin}`;
  }
  return {
    dtype: dtype as SafetensorsDtype,
    shape: shape as number[],
    count,
    offset: dataOffset + begin,
    byteLength: wanted,
  };
}
