/**
 * Vocabularies in the metadata of GGUF files: byte pair encoding over bytes (`gpt2`, as in GPT-2 and LLaMA 3) and
 * SentencePiece's over characters (`llama`, as in LLaMA 1 and 2).
 *
 * @module
 */
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { GgufFile, type GgufValue } from "../io/gguf.ts";
import { shown } from "../io/json_text.ts";
import { BytePairTokenizer } from "./byte_pair_tokenizer.ts";
import { mergesByScore } from "./merges_by_score.ts";
import { readDummyPrefix, SentencePieceTokenizer, SPACE_MARK } from "./sentencepiece_tokenizer.ts";
import { checkSpecialTokens, type Strip } from "./special_tokens.ts";
import type { PatternName } from "./splitter.ts";
import { fitsVocabulary, type PretrainedTokenizer } from "./tokenizer.ts";
import { byteLevelJson, FieldChecks, readParts, readPattern } from "./tokenizer_json_fields.ts";

/** The kinds of tokens in `tokenizer.ggml.token_type`. */
const TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** How text is split into words, by `tokenizer.ggml.pre`, and whether a word that is a token is not merged. */
const PRE: Readonly<Record<string, { pattern: PatternName; ignoreMerges: boolean }>> = {
  "gpt-2": { pattern: "gpt2", ignoreMerges: false },
  "llama-bpe": { pattern: "gpt4", ignoreMerges: true },
  "llama3": { pattern: "gpt4", ignoreMerges: true },
  "llama-v3": { pattern: "gpt4", ignoreMerges: true },
  "dbrx": { pattern: "gpt4", ignoreMerges: false },
  "smaug-bpe": { pattern: "gpt4", ignoreMerges: false },
  "qwen2": { pattern: "qwen2", ignoreMerges: false },
  "deepseek-r1-qwen": { pattern: "qwen2", ignoreMerges: false },
  "smollm": { pattern: "smollm", ignoreMerges: false },
  "tekken": { pattern: "tekken", ignoreMerges: true },
  "gpt-4o": { pattern: "gpt4o", ignoreMerges: false },
};

/** Tokens that end a text, and those that begin one, the likelier first. */
const ENDS = ["</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>"];
const BEGINS = ["<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"];
const BYTE_TOKEN = /^<0x[0-9A-F]{2}>$/;

/** What both kinds of vocabulary have. */
interface Stored {
  /** The texts of all ids, without unused ones at the end. */
  readonly tokens: readonly string[];
  readonly special: ReadonlyMap<string, number>;
  readonly added: ReadonlyMap<string, number>;
  readonly strip: ReadonlyMap<string, Strip>;
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/**
 * Loads the tokenizer of a GGUF file. Needs `--allow-read` for a path.
 *
 * @throws {FileFormatError} where the file is foreign, has no vocabulary or one of a kind that this library has not
 * @throws {TokenizerFormatError} where the vocabulary contradicts itself
 */
export async function loadGgufTokenizer(
  from: string | URL | Uint8Array,
): Promise<PretrainedTokenizer> {
  using file = await GgufFile.open(from instanceof URL ? toPath(from) : from);
  const fields = new VocabularyFields(file);
  const model = fields.get("model", "string");
  if (model === "gpt2") return readBytePairs(fields);
  if (model === "llama") return readSentencePiece(fields);
  return fields.refuse("model", `"gpt2" or "llama"`);
}

function readBytePairs(fields: VocabularyFields): PretrainedTokenizer {
  const pre = fields.get("pre", "string");
  const cut = pre !== undefined && Object.hasOwn(PRE, pre) ? PRE[pre] : undefined;
  if (!cut) return fields.refuse("pre", Object.keys(PRE).map((one) => `"${one}"`).join(" or "));
  const stored = readStored(fields, cut.ignoreMerges);
  const { tokens, special, added } = stored;
  const vocab = [...tokens.entries()].map(([id, token]) => [token, id] as const)
    .filter(([token]) => !special.has(token) && !added.has(token));
  const merges = fields.list("merges", "string");
  return BytePairTokenizer.fromJSON(
    byteLevelJson({ ...stored, ...cut, nfc: false, vocab, merges }),
    fields.file,
  );
}

function readSentencePiece(fields: VocabularyFields): PretrainedTokenizer {
  const stored = readStored(fields, true);
  const { tokens, special, added } = stored;
  const scores = fields.list("scores", "f32");
  if (scores.length < tokens.length) fields.refuse("scores", `${tokens.length} numbers`);
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => ids.has(token) || ids.set(token, id));
  const where = fields.get("add_space_prefix", "bool") ?? true ? "always" : "never";
  try {
    return new SentencePieceTokenizer({
      ...{ ...stored, ids, dummyPrefix: { where, doubled: true } },
      merges: mergesByScore(tokens, ids, scores, (token) => special.has(token) || added.has(token)),
    });
  } catch (cause) {
    throw new FileFormatError(`"tokenizer.ggml.tokens" ${(cause as Error).message}`, {
      file: fields.file,
      cause,
    });
  }
}

/** Reads what is stored; `begins` says whether texts begin with a special token if the file does not say. */
function readStored(fields: VocabularyFields, begins: boolean): Stored {
  let tokens = fields.list("tokens", "string");
  const types = fields.list("token_type", "i32");
  if (types.length !== tokens.length) fields.refuse("token_type", `${tokens.length} numbers`);
  tokens = tokens.slice(0, types.findLastIndex((type) => type !== TYPE.unused) + 1);
  const special = new Map<string, number>(), added = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (types[id] === TYPE.control || types[id] === TYPE.unknown) special.set(token, id);
    else if (types[id] === TYPE.userDefined) added.set(token, id);
  });
  try {
    checkSpecialTokens([...special.keys(), ...added.keys()], `"tokenizer.ggml.tokens"`);
  } catch (cause) {
    throw new FileFormatError((cause as Error).message, { file: fields.file, cause });
  }
  const around = (flag: string, key: string, missing: boolean): number[] => {
    if (!(fields.get(flag, "bool") ?? missing)) return [];
    const id = fields.get(key, "u32");
    if (id !== undefined && id < tokens.length) return [id];
    return fields.refuse(key, `an id below ${tokens.length}`);
  };
  return {
    ...{ tokens, special, added, strip: new Map() },
    prefix: around("add_bos_token", "bos_token_id", begins),
    suffix: around("add_eos_token", "eos_token_id", false),
  };
}

/** The values under `tokenizer.ggml.`; anything wrong throws a `FileFormatError` that names the file and the key. */
class VocabularyFields {
  readonly file: string;
  readonly #metadata: ReadonlyMap<string, GgufValue>;

  constructor({ name, metadata }: GgufFile) {
    this.file = name;
    this.#metadata = metadata;
  }

  /** Returns a single value; undefined if there is none. */
  get<T extends "string" | "bool" | "u32">(
    key: string,
    type: T,
  ): { string: string; bool: boolean; u32: number }[T] | undefined {
    const found = this.#metadata.get(`tokenizer.ggml.${key}`);
    if (found === undefined) return undefined;
    if (found.type !== type) return this.refuse(key, `a value of ${type}`);
    return found.value as { string: string; bool: boolean; u32: number }[T];
  }

  /** Returns a list of texts or numbers. */
  list<T extends "string" | "i32" | "f32">(
    key: string,
    of: T,
  ): { string: readonly string[]; i32: Int32Array; f32: Float32Array }[T] {
    const found = this.#metadata.get(`tokenizer.ggml.${key}`);
    if (found?.type !== "array" || found.of !== of) return this.refuse(key, `a list of ${of}`);
    return found.value as { string: readonly string[]; i32: Int32Array; f32: Float32Array }[T];
  }

  /** Throws because a value is not what was expected. */
  refuse(key: string, expected: string): never {
    const found = this.#metadata.get(`tokenizer.ggml.${key}`);
    const what = found?.type === "array"
      ? `${found.value.length} of ${found.of}`
      : typeof found?.value === "bigint"
      ? String(found.value)
      : shown(found?.value);
    throw new FileFormatError(
      `expected "tokenizer.ggml.${key}" to be ${expected} but got ${what}`,
      {
        file: this.file,
      },
    );
  }
}

/**
 * Returns the metadata of a tokenizer with `size` ids: with unused tokens at the end, or without special tokens that the
 * model lacks.
 *
 * @throws {TypeError} for a tokenizer that GGUF has no place for: with more than one token before a text, for one
 * @throws {RangeError} for a tokenizer of more ids of text than `size`
 */
export function ggufVocabulary(
  tokenizer: PretrainedTokenizer,
  size: number,
): [string, GgufValue][] {
  const checks = new FieldChecks("tokenizer");
  const json = checks.object(tokenizer.toJSON(), "file");
  const parts = readParts(json, checks);
  const { special, added, prefix, suffix } = parts;
  if (!fitsVocabulary(tokenizer, size)) {
    throw new RangeError(
      `saveGguf: expected a tokenizer of at most ${size} ids, as the model has, but got ${tokenizer.vocabSize}`,
    );
  }
  const tokens = Array.from(
    { length: size },
    (_, id) => parts.tokens[id] || `[PAD${id}]`,
  );
  const isSentencePiece = checks.object(json.model, "model").byte_fallback === true;
  const typeOf = (token: string, id: number): number => {
    if (!parts.tokens[id]) return TYPE.unused;
    if (token === "<unk>" && isSentencePiece) return TYPE.unknown;
    if (special.has(token)) return TYPE.control;
    // In llama.cpp, an added token with the mark matches a space in the text; in `tokenizer.json`, the mark itself.
    const isMarked = isSentencePiece && token.includes(SPACE_MARK);
    if (added.has(token) && !isMarked) return TYPE.userDefined;
    return isSentencePiece && BYTE_TOKEN.test(token) ? TYPE.byte : TYPE.normal;
  };
  const idOf = (names: readonly string[]) =>
    names.map((name) => special.get(name)).find((id) => id !== undefined);
  const bos = prefix[0] ?? idOf(BEGINS), eos = suffix[0] ?? idOf(ENDS);
  if (prefix.length > 1 || suffix.length > 1) {
    throw new TypeError(
      `saveGguf: expected at most one token before and after a text but got ${prefix.length} and ${suffix.length}`,
    );
  }
  const own = isSentencePiece
    ? sentencePieceValues(json, parts, size)
    : bytePairValues(json, parts);
  const values: Record<string, GgufValue | undefined> = {
    ...own,
    tokens: { type: "array", of: "string", value: tokens },
    token_type: { type: "array", of: "i32", value: Int32Array.from(tokens, typeOf) },
    bos_token_id: bos === undefined ? undefined : { type: "u32", value: bos },
    eos_token_id: eos === undefined ? undefined : { type: "u32", value: eos },
    add_bos_token: { type: "bool", value: prefix.length > 0 },
    add_eos_token: { type: "bool", value: suffix.length > 0 },
  };
  return Object.entries(values).flatMap(([key, value]) =>
    value ? [[`tokenizer.ggml.${key}`, value]] : []
  );
}

type Json = Parameters<typeof readParts>[0];
type Parts = ReturnType<typeof readParts>;

function bytePairValues(json: Json, { tokens, merges }: Parts): Record<string, GgufValue> {
  const checks = new FieldChecks("tokenizer");
  const pattern = readPattern(json, checks);
  const ignoreMerges = checks.object(json.model, "model").ignore_merges === true;
  const pre = Object.keys(PRE).find((name) =>
    PRE[name]!.pattern === pattern && PRE[name]!.ignoreMerges === ignoreMerges
  );
  if (pre === undefined) {
    throw new TypeError(
      "saveGguf: expected words of GPT-2's pattern to be merged but got ignore_merges",
    );
  }
  const { pairs } = merges;
  const texts = Array.from(
    merges.results,
    (_, rank) => `${tokens[pairs[2 * rank]!]} ${tokens[pairs[2 * rank + 1]!]}`,
  );
  return {
    model: { type: "string", value: "gpt2" },
    pre: { type: "string", value: pre },
    merges: { type: "array", of: "string", value: texts },
  };
}

/** llama.cpp merges into the token with the highest score first, so the first merge into a token decides. */
function sentencePieceValues(
  json: Json,
  { merges }: Parts,
  size: number,
): Record<string, GgufValue> {
  const scores = new Float32Array(size);
  merges.results.forEach((id, rank) => {
    if (scores[id] === 0) scores[id] = -1 - rank;
  });
  const { where } = readDummyPrefix(json, new FieldChecks("tokenizer"));
  return {
    model: { type: "string", value: "llama" },
    pre: { type: "string", value: "default" },
    scores: { type: "array", of: "f32", value: scores },
    add_space_prefix: { type: "bool", value: where !== "never" },
  };
}
