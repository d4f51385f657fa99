// GGUF, the files of llama.cpp: a header with metadata by key, then the tensors, each at a multiple of an alignment, in
// plain or quantised types.
import { type AtomicWriteOptions, writeFileAtomically } from "./atomic_file.ts";
import { type ByteSource, openSource, toPath } from "./byte_source.ts";
import { decodeGgml, encodeGgml, type WritableGgmlType } from "./ggml_blocks.ts";
import {
  aligned,
  encodeGgufHeader,
  type GgufHeader,
  type GgufTensorInfo,
  type GgufValue,
  readGgufHeader,
} from "./gguf_header.ts";

export type { GgmlType, WritableGgmlType } from "./ggml_blocks.ts";
export type { GgufArray, GgufNumbers, GgufTensorInfo, GgufValue } from "./gguf_header.ts";

/**
 * A GGUF file open for reading, tensor by tensor. Nothing in the file is trusted: the header is checked against the
 * actual size of the file before anything is allocated.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeGguf, GgufFile } from "@dinograd/dinograd";
 *
 * const bytes = await encodeGguf(
 *   [["general.architecture", { type: "string", value: "llama" }]],
 *   [{ name: "token_embd.weight", type: "Q8_0", shape: [1, 32], data: new Float32Array(32).fill(127) }],
 * );
 * using file = await GgufFile.open(bytes);
 * assert.equal(file.metadata.get("general.architecture")?.value, "llama");
 * assert.equal((await file.readFloat32("token_embd.weight"))[31], 127);
 * ```
 */
export class GgufFile implements Disposable {
  /** The metadata by key, in the order of the file. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** The tensors by name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
  /** The path of the file, or a name for bytes in memory. */
  readonly name: string;
  readonly #source: ByteSource;

  private constructor(source: ByteSource, { metadata, tensors }: GgufHeader) {
    this.#source = source;
    this.name = source.name;
    this.metadata = metadata;
    this.tensors = tensors;
  }

  /**
   * Opens a file by path or URL, or bytes in memory, and reads its header.
   *
   * @throws {FileFormatError} where the file is foreign, of version 1 or the other byte order, cut short, or its header
   * contradicts itself, or a tensor is of a type that is not read
   */
  static async open(from: string | URL | Uint8Array | ByteSource): Promise<GgufFile> {
    const source = await openSource(from);
    try {
      return new GgufFile(source, await readGgufHeader(source));
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** Returns what the header says about a tensor; throws a `RangeError` if there is none of that name. */
  info(name: string): GgufTensorInfo {
    const info = this.tensors.get(name);
    if (!info) {
      throw new RangeError(
        `${this.name}: expected the name of a tensor but got ${JSON.stringify(name)}`,
      );
    }
    return info;
  }

  /** Reads the bytes of one tensor as they are stored. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const { offset, byteLength } = this.info(name);
    const bytes = new Uint8Array(byteLength);
    await this.#source.readInto(bytes, offset);
    return bytes;
  }

  /** Reads one tensor as float32, whatever its type. */
  async readFloat32(name: string): Promise<Float32Array> {
    const { type } = this.info(name);
    const bytes = await this.read(name);
    return type === "F32" ? new Float32Array(bytes.buffer) : decodeGgml(type, bytes);
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

/** A tensor to write. */
export interface GgufTensor {
  /** The name in the file. */
  readonly name: string;
  /** The element type in the file. */
  readonly type: WritableGgmlType;
  /** The lengths of the axes, outermost first; the last must be a multiple of 32 for `Q8_0` and `Q4_0`. */
  readonly shape: readonly number[];
  /**
   * The numbers, which are converted to the type, or bytes that are stored as they are; or a function that returns them
   * when their turn comes, so that only one tensor at a time need be in memory.
   */
  readonly data: GgufData | (() => GgufData | Promise<GgufData>);
}

/** Numbers, or bytes as they are stored. */
export type GgufData = Float32Array | Uint8Array;

/**
 * Writes a GGUF file of version 3, one tensor at a time. The file appears whole or not at all.
 *
 * @throws {RangeError} where data does not fit its type and shape, or a name comes twice
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeGguf(
  path: string | URL,
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: Iterable<GgufTensor>,
  options?: AtomicWriteOptions,
): Promise<void> {
  const parts = ggufParts(metadata, [...tensors]);
  await writeFileAtomically(toPath(path), async (file) => {
    for await (const part of parts) await file.write(part);
  }, options);
}

/** Returns the bytes of a GGUF file; for files that fit into memory twice. */
export async function encodeGguf(
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: Iterable<GgufTensor>,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of ggufParts(metadata, [...tensors])) parts.push(part);
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

async function* ggufParts(
  metadata: Iterable<readonly [string, GgufValue]>,
  tensors: readonly GgufTensor[],
): AsyncGenerator<Uint8Array> {
  const { header, lengths, alignment } = encodeGgufHeader(metadata, tensors);
  yield header;
  for (const [i, { name, type, data }] of tensors.entries()) {
    const given = typeof data === "function" ? await data() : data;
    const bytes = given instanceof Float32Array ? encodeGgml(type, given) : given;
    if (bytes.length !== lengths[i]) {
      throw new RangeError(
        `writeGguf: expected ${lengths[i]} bytes of ${type} for tensor ${
          JSON.stringify(name)
        } but got ${bytes.length}`,
      );
    }
    yield bytes;
    yield new Uint8Array(aligned(bytes.length, alignment) - bytes.length);
  }
}
