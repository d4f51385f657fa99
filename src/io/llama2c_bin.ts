// llama2.c's model files: a header of sizes, then float32 weights in a fixed order, with those of one kind for all
// layers together. Version 0 is that of run.c and stories15M.bin; version 1 has a magic number. Format: export.py of
// https://github.com/karpathy/llama2.c
import { type AtomicWriteOptions, writeFileAtomically } from "./atomic_file.ts";
import { type ByteSource, openSource, toPath } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";

const MAGIC = 0x616b3432; // "ak42"
const HEADER_BYTES = [7 * 4, 256] as const;

/** The sizes in the header of a llama2.c file, by llama2.c's names. */
export interface Llama2cConfig {
  /** The width of the residual stream. */
  readonly dim: number;
  /** The width of the hidden layer of the gated MLP. */
  readonly hiddenDim: number;
  /** The number of blocks. */
  readonly layers: number;
  /** The number of query heads. */
  readonly heads: number;
  /** The number of key and value heads. */
  readonly kvHeads: number;
  /** The number of ids. */
  readonly vocabSize: number;
  /** The maximum length of a sequence. */
  readonly seqLen: number;
  /** Whether the output matrix is the token embedding. */
  readonly sharedClassifier: boolean;
}

/** The supported versions; version 2 has integers of 8 bits. */
export type Llama2cVersion = 0 | 1;

/** A tensor of a llama2.c file. */
export interface Llama2cTensor {
  /** The name in llama2.c's `model.py`, such as `layers.0.attention.wq.weight`. */
  readonly name: string;
  /** The lengths of the axes. */
  readonly shape: readonly number[];
  /** The offset of the first byte in the file. */
  readonly offset: number;
}

/**
 * A llama2.c model file open for reading, tensor by tensor. Nothing is allocated by a number that the length of the
 * file contradicts.
 */
export class Llama2cFile implements Disposable {
  /** The path of the file, or a name for bytes in memory. */
  readonly name: string;
  /** The version of the format. */
  readonly version: Llama2cVersion;
  /** The sizes of the model. */
  readonly config: Llama2cConfig;
  /** The tensors by name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, Llama2cTensor>;
  readonly #source: ByteSource;

  private constructor(source: ByteSource, version: Llama2cVersion, config: Llama2cConfig) {
    this.#source = source;
    this.name = source.name;
    this.version = version;
    this.config = config;
    const { tensors } = llama2cLayout(config, version);
    this.tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  /**
   * Opens a file by path or URL, or bytes in memory, and reads its header.
   *
   * @throws {FileFormatError} where it is foreign, of version 2, or not as long as its sizes say
   */
  static async open(from: string | URL | Uint8Array | ByteSource): Promise<Llama2cFile> {
    const source = await openSource(from);
    try {
      const { version, config } = await readHeader(source);
      return new Llama2cFile(source, version, config);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** Reads one tensor; throws a `RangeError` if there is none of that name. */
  async read(name: string): Promise<Float32Array> {
    const tensor = this.tensors.get(name);
    if (!tensor) {
      throw new RangeError(
        `${this.name}: expected the name of a tensor but got ${JSON.stringify(name)}`,
      );
    }
    const data = new Float32Array(sizeOf(tensor.shape));
    await this.#source.readInto(new Uint8Array(data.buffer), tensor.offset);
    return data;
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

/**
 * Writes a llama2.c model file, one tensor at a time: `read` returns each when its turn comes. The file appears whole
 * or not at all.
 *
 * @throws {RangeError} where a tensor has not the size that the configuration wants
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeLlama2c(
  path: string | URL,
  config: Llama2cConfig,
  version: Llama2cVersion,
  read: (tensor: Llama2cTensor) => Float32Array | Promise<Float32Array>,
  options?: AtomicWriteOptions,
): Promise<void> {
  const { tensors, bytes } = llama2cLayout(config, version);
  await writeFileAtomically(toPath(path), async (file) => {
    await file.write(encodeHeader(config, version));
    for (const tensor of tensors) {
      const data = tensor.name === ROTARY ? rotaryTables(config) : await read(tensor);
      if (data.length !== sizeOf(tensor.shape)) {
        throw new RangeError(
          `${tensor.name}: expected ${sizeOf(tensor.shape)} numbers but got ${data.length}`,
        );
      }
      await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
  }, { ...options, bytesWanted: bytes });
}

/** Cosines and sines of all positions, which version 0 includes and nothing reads any more. */
const ROTARY = "rotary";

/** Returns the tensors in the order of the file, and the length of the file. */
function llama2cLayout(
  config: Llama2cConfig,
  version: Llama2cVersion,
): { tensors: Llama2cTensor[]; bytes: number } {
  const { dim, hiddenDim, layers, heads, kvHeads, vocabSize, seqLen, sharedClassifier } = config;
  const kvDim = kvHeads * dim / heads;
  const tensors: Llama2cTensor[] = [];
  let offset: number = HEADER_BYTES[version];
  const add = (name: string, ...shape: number[]): void => {
    tensors.push({ name, shape, offset });
    offset += 4 * sizeOf(shape);
  };
  const addToLayers = (name: string, ...shape: number[]): void => {
    for (let i = 0; i < layers; i++) add(`layers.${i}.${name}.weight`, ...shape);
  };
  const addAttention = (): void => {
    addToLayers("attention.wq", dim, dim);
    addToLayers("attention.wk", kvDim, dim);
    addToLayers("attention.wv", kvDim, dim);
    addToLayers("attention.wo", dim, dim);
  };
  const addMlp = (): void => {
    addToLayers("feed_forward.w1", hiddenDim, dim);
    addToLayers("feed_forward.w2", dim, hiddenDim);
    addToLayers("feed_forward.w3", hiddenDim, dim);
  };
  if (version === 0) {
    add("tok_embeddings.weight", vocabSize, dim);
    addToLayers("attention_norm", dim);
    addAttention();
    addToLayers("ffn_norm", dim);
    addMlp();
    add("norm.weight", dim);
    add(ROTARY, 2, seqLen, dim / heads / 2);
  } else {
    addToLayers("attention_norm", dim);
    addToLayers("ffn_norm", dim);
    add("norm.weight", dim);
    add("tok_embeddings.weight", vocabSize, dim);
    addAttention();
    addMlp();
  }
  if (!sharedClassifier) add("output.weight", vocabSize, dim);
  return { tensors, bytes: offset };
}

/** Returns the length of the file without a list of its tensors, of which a header may claim any number. */
function llama2cBytes(config: Llama2cConfig, version: Llama2cVersion): number {
  const { dim, hiddenDim, layers, heads, kvHeads, vocabSize, seqLen, sharedClassifier } = config;
  const layer = 2 * dim + 2 * dim * dim + 2 * dim * (kvHeads * dim / heads) + 3 * dim * hiddenDim;
  const rotary = version === 0 ? seqLen * dim / heads : 0;
  const matrices = vocabSize * dim * (sharedClassifier ? 1 : 2);
  return HEADER_BYTES[version] + 4 * (matrices + layers * layer + dim + rotary);
}

async function readHeader(
  source: ByteSource,
): Promise<{ version: Llama2cVersion; config: Llama2cConfig }> {
  const refuse = (message: string, offset: number): never => {
    throw new FileFormatError(message, { file: source.name, offset });
  };
  const bytes = new Uint8Array(Math.min(source.size, HEADER_BYTES[1]));
  if (bytes.length < HEADER_BYTES[0]) {
    refuse(
      `expected a llama2.c header of ${HEADER_BYTES[0]} bytes but got ${bytes.length}`,
      source.size,
    );
  }
  await source.readInto(bytes, 0);
  const view = new DataView(bytes.buffer);
  const versioned = view.getUint32(0, true) === MAGIC;
  const version = versioned ? view.getInt32(4, true) : 0;
  if (version !== 0 && version !== 1) {
    refuse(`expected llama2.c version 0 or 1 but got ${version}`, 4);
  }
  if (versioned && (version === 0 || bytes.length < HEADER_BYTES[1])) {
    refuse(
      `expected a llama2.c header of version 1 and ${
        HEADER_BYTES[1]
      } bytes but got ${bytes.length} bytes of version ${version}`,
      4,
    );
  }
  const at = versioned ? 8 : 0;
  const field = (i: number) => view.getInt32(at + 4 * i, true);
  const [dim, hiddenDim, layers, heads] = [field(0), field(1), field(2), field(3)];
  const [kvHeads, vocab, seqLen] = [field(4), field(5), field(6)];
  const vocabSize = version === 0 ? Math.abs(vocab) : vocab; // the sign says whether the output matrix is shared
  const sharedClassifier = version === 0 ? vocab > 0 : bytes[at + 28] !== 0;
  const config = { dim, hiddenDim, layers, heads, kvHeads, vocabSize, seqLen, sharedClassifier };
  const sizes = [dim, hiddenDim, layers, heads, kvHeads, vocabSize, seqLen];
  const wrong = sizes.findIndex((size) => size < 1);
  if (wrong >= 0) {
    refuse(`expected llama2.c sizes of 1 or more but got ${sizes[wrong]}`, at + 4 * wrong);
  }
  if (dim % (2 * heads) !== 0 || heads % kvHeads !== 0) {
    refuse(
      `expected heads that divide ${dim} into even sizes but got ${heads}, ${kvHeads} of keys`,
      at + 12,
    );
  }
  const wanted = llama2cBytes(config, version as Llama2cVersion);
  if (wanted !== source.size) {
    refuse(`expected ${wanted} bytes for its sizes but got ${source.size}`, at);
  }
  return { version: version as Llama2cVersion, config };
}

function encodeHeader(config: Llama2cConfig, version: Llama2cVersion): Uint8Array {
  const { dim, hiddenDim, layers, heads, kvHeads, vocabSize, seqLen, sharedClassifier } = config;
  const header = new Uint8Array(HEADER_BYTES[version]);
  const view = new DataView(header.buffer);
  const vocab = version === 0 && !sharedClassifier ? -vocabSize : vocabSize;
  const numbers = [dim, hiddenDim, layers, heads, kvHeads, vocab, seqLen];
  const at = version === 0 ? 0 : 8;
  if (version === 1) {
    view.setUint32(0, MAGIC, true);
    view.setInt32(4, version, true);
    header[at + 28] = Number(sharedClassifier);
  }
  numbers.forEach((number, i) => view.setInt32(at + 4 * i, number, true));
  return header;
}

function rotaryTables({ dim, heads, seqLen }: Llama2cConfig): Float32Array {
  const pairs = dim / heads / 2;
  const tables = new Float32Array(2 * seqLen * pairs);
  for (let i = 0; i < seqLen * pairs; i++) {
    const angle = Math.floor(i / pairs) * 10000 ** (-(i % pairs) / pairs);
    tables[i] = Math.cos(angle);
    tables[seqLen * pairs + i] = Math.sin(angle);
  }
  return tables;
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
