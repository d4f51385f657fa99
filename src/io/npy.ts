// NumPy's .npy files: magic, version, a Python dict literal as header, then the raw numbers.
// Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
import { writeFileAtomically } from "./atomic_file.ts";
import { type ByteSource, openSource, toPath } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";

/** The element type of a `.npy` file, in NumPy's short form: `u2` is uint16, `f4` is float32. */
export type NpyDtype = "u1" | "i1" | "u2" | "i2" | "u4" | "i4" | "u8" | "i8" | "f2" | "f4" | "f8";

const ARRAY_TYPES = {
  u1: Uint8Array,
  i1: Int8Array,
  u2: Uint16Array,
  i2: Int16Array,
  u4: Uint32Array,
  i4: Int32Array,
  u8: BigUint64Array,
  i8: BigInt64Array,
  f2: Float16Array,
  f4: Float32Array,
  f8: Float64Array,
} satisfies Record<NpyDtype, unknown>;

/** A typed array that a `.npy` file can hold. */
export type NpyData =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float16Array
  | Float32Array
  | Float64Array;

/** The header of a `.npy` file. */
export interface NpyHeader {
  /** The element type. */
  dtype: NpyDtype;
  /** The lengths of the axes; empty for a single number. */
  shape: number[];
  /** The number of elements, the product of `shape`. */
  count: number;
  /** The size of an element in bytes. */
  bytesPerElement: number;
  /** The offset of the first element in the file, in bytes. */
  dataOffset: number;
}

/** An array read from a `.npy` file, in C (row-major) order. */
export interface NpyArray {
  /** The element type. */
  dtype: NpyDtype;
  /** The lengths of the axes; empty for a single number. */
  shape: number[];
  /** The elements. */
  data: NpyData;
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
// NumPy itself refuses longer headers by default; the dict of a plain array has about 60 bytes.
const MAX_HEADER_BYTES = 1 << 20;
// NumPy does not support arrays with more axes.
const MAX_AXES = 64;

/**
 * Reads only the header of a `.npy` file, so that a large file can be read by ranges.
 *
 * @throws {FileFormatError} where the file is foreign, cut short, big-endian, in Fortran order or of
 * a type that has no typed array (objects, structures, strings, complex numbers)
 */
export async function readNpyHeader(
  from: string | URL | Uint8Array | ByteSource,
): Promise<NpyHeader> {
  return await withSource(from, parseHeader);
}

/**
 * Reads a `.npy` file as written by NumPy's `save` (format versions 1, 2 and 3), from a path, a URL or bytes.
 *
 * @throws {FileFormatError} for all that {@linkcode readNpyHeader} refuses
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeNpy, readNpy } from "@dinograd/dinograd";
 *
 * const bytes = encodeNpy(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
 * const { dtype, shape, data } = await readNpy(bytes);
 * assert.deepEqual([dtype, shape, [...data]], ["f4", [2, 3], [1, 2, 3, 4, 5, 6]]);
 * ```
 */
export async function readNpy(from: string | URL | Uint8Array | ByteSource): Promise<NpyArray> {
  return await withSource(from, async (source) => {
    const header = await parseHeader(source);
    const data = new ARRAY_TYPES[header.dtype](header.count);
    await source.readInto(new Uint8Array(data.buffer), header.dataOffset);
    return { dtype: header.dtype, shape: header.shape, data };
  });
}

/**
 * Returns the bytes of a `.npy` file (format version 1) that holds `data` with the given shape. Default: one axis.
 *
 * @throws {RangeError} where the shape does not hold as many elements as `data`
 */
export function encodeNpy(data: NpyData, shape?: readonly number[]): Uint8Array {
  const header = headerFor(data, shape);
  const bytes = new Uint8Array(header.byteLength + data.byteLength);
  bytes.set(header);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), header.byteLength);
  return bytes;
}

/**
 * Writes a `.npy` file that NumPy's `load` reads. The file appears whole or not at all.
 *
 * @throws {RangeError} where the shape does not hold as many elements as `data`
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeNpy(
  path: string | URL,
  data: NpyData,
  shape?: readonly number[],
): Promise<void> {
  const header = headerFor(data, shape);
  await writeFileAtomically(toPath(path), async (file) => {
    await file.write(header);
    await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }, { bytesWanted: header.byteLength + data.byteLength });
}

async function withSource<T>(
  from: string | URL | Uint8Array | ByteSource,
  use: (source: ByteSource) => Promise<T>,
): Promise<T> {
  const source = await openSource(from);
  try {
    return await use(source);
  } finally {
    if (source !== from) source.close();
  }
}

async function parseHeader(source: ByteSource): Promise<NpyHeader> {
  const refuse = (message: string, offset: number): never => {
    throw new FileFormatError(message, { file: source.name, offset });
  };
  const start = new Uint8Array(12);
  const startLength = Math.min(start.length, source.size);
  await source.readInto(start.subarray(0, startLength), 0);
  if (MAGIC.some((byte, i) => start[i] !== byte)) {
    refuse("expected a .npy file but got other bytes", 0);
  }
  const major = start[6]!;
  if (major < 1 || major > 3) refuse(`expected .npy format version 1, 2 or 3 but got ${major}`, 6);
  const prefix = major === 1 ? 10 : 12;
  if (startLength < prefix) {
    refuse("expected a whole .npy header but got the file's end", startLength);
  }
  const view = new DataView(start.buffer);
  const headerLength = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (headerLength > MAX_HEADER_BYTES || prefix + headerLength > source.size) {
    refuse(
      `expected a header that fits a file of ${source.size} bytes but got one of ${headerLength}`,
      8,
    );
  }
  const bytes = new Uint8Array(headerLength);
  await source.readInto(bytes, prefix);
  const text = new TextDecoder(major === 3 ? "utf-8" : "latin1").decode(bytes);

  const { dtype, shape } = parseDict(text, (message) => refuse(message, prefix));
  const count = shape.reduce((a, b) => a * b, 1);
  const dataOffset = prefix + headerLength;
  const bytesPerElement = ARRAY_TYPES[dtype].BYTES_PER_ELEMENT;
  const wanted = count * bytesPerElement;
  if (dataOffset + wanted > source.size) {
    refuse(
      `expected ${wanted} bytes of data for shape (${shape.join(", ")}) of ${dtype} but got ` +
        `${source.size - dataOffset}`,
      source.size,
    );
  }
  return { dtype, shape, count, bytesPerElement, dataOffset };
}

// Parses only the three keys that NumPy writes, with the values they can have; not a general Python parser.
function parseDict(
  text: string,
  refuse: (message: string) => never,
): { dtype: NpyDtype; shape: number[] } {
  const descr = /'descr'\s*:\s*('([^']*)'|[^,]*)/.exec(text);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text);
  const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(text);
  if (!/^\s*\{.*\}\s*$/s.test(text) || !descr || !order || !shape) {
    return refuse(
      `expected descr, fortran_order and shape in its header but got ${text.slice(0, 100).trim()}`,
    );
  }
  if (descr[2] === undefined) {
    return refuse(
      `expected plain numbers but got a structured type: ${descr[1]!.trim().slice(0, 100)}`,
    );
  }
  if (order[1] === "True") return refuse("expected C order but got Fortran order");
  const [byteOrder, dtype] = [descr[2][0], descr[2].slice(1)];
  if (byteOrder === "|" && dtype === "O") return refuse("expected numbers but got Python objects");
  if (!(Object.hasOwn(ARRAY_TYPES, dtype))) {
    return refuse(
      `expected one of ${Object.keys(ARRAY_TYPES).join(", ")} but got '${descr[2].slice(0, 60)}'`,
    );
  }
  const oneByte = dtype.endsWith("1");
  if (byteOrder === ">" && !oneByte) {
    return refuse("expected little-endian but got big-endian numbers");
  }
  if (!"<=|>".includes(byteOrder!)) {
    return refuse(`expected a byte order of <, = or | but got '${descr[2].slice(0, 60)}'`);
  }
  const lengths = shape[1]!.split(",").map((s) => s.trim().replace(/L$/, "")).filter((s) =>
    s !== ""
  );
  if (lengths.length > MAX_AXES) {
    return refuse(`expected ${MAX_AXES} axes or fewer but got ${lengths.length}`);
  }
  const numbers = lengths.map(Number);
  const shown = shape[1]!.slice(0, 200);
  if (numbers.some((n) => !Number.isSafeInteger(n))) {
    return refuse(`expected a shape of integers but got (${shown})`);
  }
  if (!Number.isSafeInteger(numbers.reduce((a, b) => a * b, 1))) {
    return refuse(`expected a shape of at most 2^53 elements but got (${shown})`);
  }
  return { dtype: dtype as NpyDtype, shape: numbers };
}

function headerFor(data: NpyData, shape: readonly number[] = [data.length]): Uint8Array {
  const header = encodeNpyHeader(npyDtype(data), shape);
  checkCount(data, shape);
  return header;
}

/** Returns the header alone, padded so that the data starts at a multiple of 64 bytes, as NumPy does. */
export function encodeNpyHeader(dtype: NpyDtype, shape: readonly number[]): Uint8Array {
  const descr = `${dtype.endsWith("1") ? "|" : "<"}${dtype}`;
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  const length = Math.ceil((10 + dict.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length);
  bytes.set([...MAGIC, 1, 0, length & 255, length >> 8]);
  new TextEncoder().encodeInto(dict.padEnd(length - 1) + "\n", bytes.subarray(10));
  return bytes;
}

function npyDtype(data: NpyData): NpyDtype {
  for (const [dtype, type] of Object.entries(ARRAY_TYPES)) {
    if (data instanceof type) return dtype as NpyDtype;
  }
  throw new TypeError(
    `npy: expected a typed array but got ${Object.prototype.toString.call(data)}`,
  );
}

function checkCount(data: NpyData, shape: readonly number[]): void {
  const count = shape.reduce((a, b) => a * b, 1);
  if (count !== data.length) {
    throw new RangeError(
      `npy: expected ${count} elements for shape (${shape.join(", ")}) but got ${data.length}`,
    );
  }
}
