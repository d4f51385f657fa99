/**
 * llama2.c's `tokenizer.bin`: the length of the longest token, then of each token its score, its length and its bytes.
 * Format: tokenizer.py of https://github.com/karpathy/llama2.c
 *
 * @module
 */
import { writeFileAtomically } from "../io/atomic_file.ts";
import { type ByteSource, openSource, toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import { MAX_VOCAB_SIZE } from "./merges.ts";
import { mergesByScore } from "./merges_by_score.ts";
import { byteToken, SentencePieceTokenizer, SPACE_MARK } from "./sentencepiece_tokenizer.ts";
import type { PretrainedTokenizer } from "./tokenizer.ts";

/** A token of a llama2.c vocabulary. */
export interface Llama2cToken {
  /** The text, with spaces as spaces. */
  readonly text: string;
  /** The score: among possible merges, the one into the token with the higher score comes first. */
  readonly score: number;
}

/**
 * The maximum number of bytes of a token, so that a file cannot ask for any amount of work; LLaMA's have at most 48.
 */
const MAX_TOKEN_BYTES = 256;
/** The offset of the first token, after the length of the longest. */
const FIRST_TOKEN = 4;
const encoder = new TextEncoder();
/** The special tokens of SentencePiece by id. */
const SPECIAL = ["<unk>", "<s>", "</s>"] as const;

/**
 * Reads the tokens of a llama2.c `tokenizer.bin` in the order of their ids.
 *
 * @throws {FileFormatError} where it is foreign, cut short, or a token is not UTF-8 or longer than 256 bytes
 */
export async function readLlama2cTokens(
  from: string | URL | Uint8Array | ByteSource,
): Promise<Llama2cToken[]> {
  const source = await openSource(from);
  try {
    const refuse = (message: string, offset: number): never => {
      throw new FileFormatError(message, { file: source.name, offset });
    };
    const bytes = new Uint8Array(source.size);
    await source.readInto(bytes, 0);
    const view = new DataView(bytes.buffer);
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    if (bytes.length < 4) {
      refuse(
        `expected a llama2.c tokenizer of 4 bytes or more but got ${bytes.length}`,
        bytes.length,
      );
    }
    const longest = view.getInt32(0, true);
    const tokens: Llama2cToken[] = [];
    for (let at = 4; at < bytes.length;) {
      if (at + 8 > bytes.length) {
        refuse(`expected a score and a length but got ${bytes.length - at} bytes`, at);
      }
      const length = view.getInt32(at + 4, true);
      if (length < 0 || length > Math.min(longest, MAX_TOKEN_BYTES)) {
        refuse(
          `expected a token of at most ${Math.min(longest, 256)} bytes but got ${length}`,
          at + 4,
        );
      }
      if (at + 8 + length > bytes.length) {
        refuse(`expected a token of ${length} bytes but got ${bytes.length - at - 8}`, at + 8);
      }
      const score = view.getFloat32(at, true);
      try {
        const text = decoder.decode(bytes.subarray(at + 8, at + 8 + length));
        tokens.push({ text, score });
      } catch {
        refuse(`token ${tokens.length}: expected UTF-8 but got other bytes`, at + 8);
      }
      at += 8 + length;
    }
    if (tokens.length > MAX_VOCAB_SIZE) {
      refuse(`expected at most ${MAX_VOCAB_SIZE} tokens but got ${tokens.length}`, 0);
    }
    return tokens;
  } finally {
    if (source !== from) source.close();
  }
}

/**
 * Writes tokens as a llama2.c `tokenizer.bin`. The file appears whole or not at all.
 *
 * @throws {RangeError} for a token of more than 256 bytes
 * @throws {FileWriteError} where the disk is full or the folder is not there
 */
export async function writeLlama2cTokens(
  path: string | URL,
  tokens: readonly Llama2cToken[],
): Promise<void> {
  const encoded = tokens.map(({ text }) => encoder.encode(text));
  const longest = encoded.reduce((most, { length }) => Math.max(most, length), 0);
  if (longest > MAX_TOKEN_BYTES) {
    throw new RangeError(
      `writeLlama2cTokens: expected tokens of at most ${MAX_TOKEN_BYTES} bytes but got ${longest}`,
    );
  }
  const bytes = new Uint8Array(encoded.reduce((sum, { length }) => sum + 8 + length, 4));
  const view = new DataView(bytes.buffer);
  view.setInt32(0, longest, true);
  let at = 4;
  encoded.forEach((token, id) => {
    view.setFloat32(at, tokens[id]!.score, true);
    view.setInt32(at + 4, token.length, true);
    bytes.set(token, at + 8);
    at += 8 + token.length;
  });
  await writeFileAtomically(toPath(path), (file) => file.write(bytes));
}

/**
 * Loads the tokenizer of a llama2.c `tokenizer.bin`. Ids 0, 1 and 2 are the special tokens `<unk>`, `<s>` and `</s>`,
 * and `<s>` comes before a text. Needs `--allow-read` for a path.
 *
 * @throws {FileFormatError} as {@linkcode readLlama2cTokens} does, and where there is no token for some byte
 */
export async function loadLlama2cTokenizer(
  from: string | URL | Uint8Array | ByteSource,
): Promise<PretrainedTokenizer> {
  const found = await readLlama2cTokens(from);
  const file = typeof from === "string" || from instanceof URL
    ? toPath(from)
    : from instanceof Uint8Array
    ? "bytes in memory"
    : from.name;
  const tokens = found.map(({ text }, id) => nameOf(text, id));
  for (const [id, name] of SPECIAL.entries()) {
    if (tokens[id] === name) continue;
    throw new FileFormatError(`expected token ${id} to be ${name} but got ${shown(tokens[id])}`, {
      file,
      offset: found.slice(0, id).reduce(
        (at, { text }) => at + 8 + encoder.encode(text).length,
        FIRST_TOKEN,
      ),
    });
  }
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => ids.has(token) || ids.set(token, id));
  try {
    return new SentencePieceTokenizer({
      tokens,
      ids,
      merges: mergesByScore(
        tokens,
        ids,
        found.map(({ score }) => score),
        (_, id) => id < SPECIAL.length,
      ),
      special: new Map(SPECIAL.map((name, id) => [name, id])),
      added: new Map(),
      strip: new Map(),
      prefix: [SPECIAL.indexOf("<s>")],
      suffix: [],
      dummyPrefix: { where: "always", doubled: true },
    });
  } catch (cause) {
    throw new FileFormatError((cause as Error).message, { file, offset: FIRST_TOKEN, cause });
  }
}

/**
 * Returns SentencePiece's name for a token. llama2.c writes spaces as they are, and line ends around the special
 * tokens; old files store the bytes, which follow these, as the characters with their numbers.
 */
function nameOf(text: string, id: number): string {
  if (id < SPECIAL.length) return text.trim();
  const byte = id - SPECIAL.length;
  if (byte < 256 && text === String.fromCharCode(byte)) return byteToken(byte);
  return text.replaceAll(" ", SPACE_MARK);
}
