// llm.c's token shards: a header of 256 int32 (magic, version, token count, zeros), then the tokens.
// Written by dev/data/data_common.py of https://github.com/karpathy/llm.c
import { writeFileAtomically } from "./atomic_file.ts";
import { type ByteSource, openSource, toPath } from "./byte_source.ts";
import { FileFormatError } from "./errors.ts";

const MAGIC = 20240520;
const LLAMA3_MAGIC = 20240801;
const VERSION = 1;
const HEADER_BYTES = 256 * 4;

/** The header of an llm.c token shard. */
export interface LlmcHeader {
  /** The number of tokens, two bytes each. */
  tokenCount: number;
  /** The offset of the first token in the file, in bytes. */
  dataOffset: number;
}

/**
 * Reads the header of an llm.c `.bin` token shard (GPT-2 tokens, two bytes each), so that the tokens
 * can be read by ranges.
 *
 * @throws {FileFormatError} where the file is foreign, of another version, or not as long as it says
 */
export async function readLlmcHeader(
  from: string | URL | Uint8Array | ByteSource,
): Promise<LlmcHeader> {
  const source = await openSource(from);
  try {
    const refuse = (message: string, offset: number): never => {
      throw new FileFormatError(message, { file: source.name, offset });
    };
    if (source.size < HEADER_BYTES) {
      refuse(
        `expected an llm.c header of ${HEADER_BYTES} bytes but got ${source.size}`,
        source.size,
      );
    }
    const header = new Int32Array(256);
    await source.readInto(new Uint8Array(header.buffer), 0);
    const [magic, version, tokenCount = 0] = header;
    if (magic === LLAMA3_MAGIC) {
      refuse("expected GPT-2 tokens of 2 bytes but got Llama 3 tokens of 4", 0);
    }
    if (magic !== MAGIC) refuse(`expected llm.c's magic number ${MAGIC} but got ${magic}`, 0);
    if (version !== VERSION) refuse(`expected llm.c version ${VERSION} but got ${version}`, 4);
    const wanted = HEADER_BYTES + tokenCount * 2;
    if (tokenCount < 0 || wanted !== source.size) {
      refuse(`expected ${wanted} bytes for ${tokenCount} tokens but got ${source.size}`, 8);
    }
    return { tokenCount, dataOffset: HEADER_BYTES };
  } finally {
    if (source !== from) source.close();
  }
}

/** Reads all tokens of an llm.c `.bin` shard. Throws what {@linkcode readLlmcHeader} throws. */
export async function readLlmcTokens(
  from: string | URL | Uint8Array | ByteSource,
): Promise<Uint16Array> {
  const source = await openSource(from);
  try {
    const { tokenCount, dataOffset } = await readLlmcHeader(source);
    const tokens = new Uint16Array(tokenCount);
    await source.readInto(new Uint8Array(tokens.buffer), dataOffset);
    return tokens;
  } finally {
    if (source !== from) source.close();
  }
}

/**
 * Writes tokens as an llm.c `.bin` shard. The file appears whole or not at all.
 *
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeLlmcTokens(path: string | URL, tokens: Uint16Array): Promise<void> {
  const header = new Int32Array(256);
  header.set([MAGIC, VERSION, tokens.length]);
  await writeFileAtomically(toPath(path), async (file) => {
    await file.write(new Uint8Array(header.buffer));
    await file.write(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength));
  }, { bytesWanted: HEADER_BYTES + tokens.byteLength });
}
