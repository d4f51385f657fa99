// safetensors: a JSON header, then the tensors' raw little-endian bytes. Every machine that Deno runs on is
// little-endian, so the bytes are those of a typed array.
import { type AtomicFile, type AtomicWriteOptions, writeFileAtomically } from "./atomic_file.ts";
import { type ByteSource, openSource, toPath } from "./byte_source.ts";
import {
  ARRAY_TYPES,
  byteLengthOf,
  encodeSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsHeader,
  type TensorData,
  type TensorEntry,
  type TensorInfo,
} from "./safetensors_header.ts";

export type {
  SafetensorsDtype,
  TensorData,
  TensorEntry,
  TensorInfo,
} from "./safetensors_header.ts";

/**
 * A safetensors file open for reading, tensor by tensor. Nothing in the file is trusted: the header is checked against
 * the actual size of the file before anything is allocated.
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
  /** The tensors by name, in the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The `__metadata__` of the file; empty if there is none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The path of the file, or a name for bytes in memory. */
  readonly name: string;
  /** The offset of the first byte after the header. */
  readonly dataOffset: number;
  #source: ByteSource;

  private constructor(source: ByteSource, header: SafetensorsHeader) {
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
      return new SafetensorsFile(source, await readSafetensorsHeader(source));
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** Returns what the header says about a tensor; throws a `RangeError` if there is none of that name. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) {
      throw new RangeError(
        `${this.name}: expected the name of a tensor but got ${JSON.stringify(name)}`,
      );
    }
    return info;
  }

  /** Reads one tensor in its own type; BF16 as bits in a `Uint16Array`. */
  async read(name: string): Promise<TensorData> {
    const info = this.info(name);
    const data = new ARRAY_TYPES[info.dtype](info.count);
    await this.#source.readInto(new Uint8Array(data.buffer), info.offset);
    return data;
  }

  /**
   * Reads one floating-point tensor as float32: F32 as it is, F16 and BF16 converted exactly, F64 rounded.
   *
   * @throws {TypeError} where the tensor holds integers
   */
  async readFloat32(name: string): Promise<Float32Array> {
    const { dtype } = this.info(name);
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16" && dtype !== "F64") {
      throw new TypeError(
        `${this.name}: expected a float in tensor ${JSON.stringify(name)} but got ${dtype}`,
      );
    }
    const data = await this.read(name);
    if (data instanceof Float32Array) return data;
    if (data instanceof Uint16Array) return bfloat16ToFloat32(data);
    return Float32Array.from(data as Float16Array | Float64Array);
  }

  /** Fills `target` from byte `offset` of the file on, to check or copy raw bytes. */
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

/** Converts bfloat16, given as bits, to float32; exact. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
  return new Float32Array(wide.buffer);
}

/** Rounds float32 to bfloat16 bits, to nearest with ties to even; NaN stays NaN. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const narrow = new Uint16Array(values.length);
  for (let i = 0; i < narrow.length; i++) {
    const b = bits[i]!;
    narrow[i] = values[i] !== values[i]
      ? (b >>> 16) | 0x40 // rounding could carry a NaN into infinity
      : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return narrow;
}

/**
 * Writes a safetensors file, one tensor at a time, so that only one need be in memory. The file appears whole or not at
 * all.
 *
 * @throws {TypeError | RangeError} where data does not fit its type and shape, or a name comes twice
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeSafetensors(
  path: string | URL,
  tensors: Iterable<TensorEntry>,
  metadata?: Record<string, string>,
  options?: AtomicWriteOptions,
): Promise<void> {
  const entries = [...tensors];
  const { header, dataBytes } = encodeSafetensorsHeader(entries, metadata);
  await writeFileAtomically(toPath(path), async (file) => {
    await file.write(header);
    await writeTensors(file, entries);
  }, { ...options, bytesWanted: header.byteLength + dataBytes });
}

/** Returns the bytes of a safetensors file; for files that fit into memory twice. */
export async function encodeSafetensors(
  tensors: Iterable<TensorEntry>,
  metadata?: Record<string, string>,
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

/** Writes the tensors' bytes in order to `file`, fetching each when its turn comes. */
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
        `safetensors: expected a ${type.name} for ${JSON.stringify(name)} of ${dtype} but got ${
          Object.prototype.toString.call(data)
        }`,
      );
    }
    const wanted = byteLengthOf(name, dtype, shape);
    if (data.byteLength !== wanted) {
      throw new RangeError(
        `safetensors: expected ${wanted} bytes for ${
          JSON.stringify(name)
        }, ${dtype} of shape [${shape}], but ` +
          `got ${data.byteLength}`,
      );
    }
    await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
}
