/**
 * Byte pair encoding as in SentencePiece, LLaMA 1 and 2.
 *
 * @module
 */
import { MergeEngine, RankedMergeRules } from "./merges.ts";
import { TokenizerBase } from "./tokenizer_base.ts";
import {
  commonJson,
  type FieldChecks,
  type Fields,
  readParts,
  templateJson,
  type TokenizerParts,
} from "./tokenizer_json_fields.ts";
import { type IdBuffer, Vocabulary } from "./vocabulary.ts";

/** The character that stands for a space: U+2581. */
export const SPACE_MARK = "▁";

/** Where a space is put before a text, so that its first word is like any other. */
export interface DummyPrefix {
  /** Before every part between special tokens, before the first of a text, or nowhere. */
  readonly where: "always" | "first" | "never";
  /** Whether a text that begins with a space gets another. */
  readonly doubled: boolean;
}

/** What a {@linkcode SentencePieceTokenizer} is made of. */
export interface SentencePieceParts extends TokenizerParts {
  /** Where a space is put before a text. */
  readonly dummyPrefix: DummyPrefix;
}

const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;
/** The number of words cached with their ids, after which the cache is emptied. */
const CACHED_WORDS = 1 << 15;
/** Longer words are rare and seldom repeat. */
const CACHED_LENGTH = 64;

const encoder = new TextEncoder();

/**
 * Byte pair encoding over characters, with spaces written as "▁" and unknown characters as bytes (Kudo and Richardson
 * 2018, "SentencePiece", https://arxiv.org/abs/1808.06226). A space is put before the text, and {@linkcode
 * SentencePieceTokenizer.decode} removes it again.
 */
export class SentencePieceTokenizer extends TokenizerBase {
  readonly #parts: SentencePieceParts;
  readonly #byteIds: Int32Array;
  readonly #rules: RankedMergeRules;
  readonly #engine: MergeEngine;
  /** Matches a word: up to the next space, or all of the text. */
  readonly #word: RegExp;
  readonly #cache = new Map<string, Uint32Array>();

  /** Throws an `Error` unless there is a token `<0xXX>` for every byte. */
  constructor(parts: SentencePieceParts) {
    const { tokens, ids, merges } = parts;
    super(parts, Vocabulary.from(tokens.map(bytesOf)));
    this.#parts = parts;
    this.#byteIds = Int32Array.from({ length: 256 }, (_, byte) => {
      const id = ids.get(byteToken(byte));
      if (id === undefined) throw new Error(`expected a token ${byteToken(byte)} but got none`);
      return id;
    });
    this.#rules = new RankedMergeRules(merges, tokens.length, this.#byteIds);
    this.#engine = new MergeEngine(this.#rules);
    // If no merge crosses the beginning of a word, a text can be cut there, and words can be cached.
    const crosses = new RegExp(`[^${SPACE_MARK}]${SPACE_MARK}`, "u");
    this.#word = merges.results.some((id) => crosses.test(tokens[id]!))
      ? /^[^]+/g
      : new RegExp(`^[^${SPACE_MARK}]+|${SPACE_MARK}+[^${SPACE_MARK}]*`, "g");
  }

  /** Reads a `tokenizer.json`; anything wrong throws a `TokenizerFormatError`. */
  static read(json: Fields, checks: FieldChecks): SentencePieceTokenizer {
    const model = checks.object(json.model, "model");
    if (model.byte_fallback !== true) {
      checks.fail("model.byte_fallback", "true", model.byte_fallback);
    }
    checks.only(model, "model", "ignore_merges", false);
    checkDecoder(json, checks);
    const dummyPrefix = readDummyPrefix(json, checks);
    const parts = readParts(json, checks);
    try {
      return new SentencePieceTokenizer({ ...parts, dummyPrefix });
    } catch (error) {
      return checks.fail("model.vocab", "a token for every byte", (error as Error).message);
    }
  }

  /**
   * Returns the tokenizer as Hugging Face's `tokenizer.json`, for `JSON.stringify`. Throws an `Error` if two ids have
   * the same text, as in some `tokenizer.bin` files: a `tokenizer.json` has one id per text.
   */
  toJSON(): unknown {
    const { tokens, ids, merges, prefix, suffix } = this.#parts;
    const used = tokens.filter((token) => token !== "");
    if (new Set(used).size < used.length) {
      throw new Error(
        "tokenizer.json: expected one id for each text but got tokens of the same text",
      );
    }
    const pairs = Array.from(merges.results, (_, rank) => {
      return [tokens[merges.pairs[2 * rank]!]!, tokens[merges.pairs[2 * rank + 1]!]!];
    });
    return {
      ...commonJson(this.#parts),
      ...spacesJson(this.#parts.dummyPrefix),
      post_processor: prefix.length + suffix.length > 0 ? templateJson(this.#parts) : null,
      model: {
        ...{ type: "BPE", dropout: null, fuse_unk: true, byte_fallback: true },
        ...{ continuing_subword_prefix: null, end_of_word_suffix: null, ignore_merges: false },
        unk_token: ids.has("<unk>") ? "<unk>" : null,
        vocab: Object.fromEntries(ids),
        // All versions of the library read pairs joined by a space, but not if a token contains one.
        merges: pairs.some((pair) => pair.join("").includes(" "))
          ? pairs
          : pairs.map((pair) => pair.join(" ")),
      },
    };
  }

  /**
   * Returns the text of `ids`, without the leading space that {@linkcode SentencePieceTokenizer.encode} adds. Bytes
   * that are not UTF-8 become U+FFFD, as in `TextDecoder`.
   *
   * @throws {RangeError} if an id is not an integer from 0 to `vocabSize - 1`
   */
  override decode(ids: ArrayLike<number>): string {
    const text = super.decode(ids);
    return this.#parts.dummyPrefix.where !== "never" && text.startsWith(" ") ? text.slice(1) : text;
  }

  /** @inheritdoc */
  protected encodePart(text: string, first: boolean, out: IdBuffer): void {
    let marked = text.toWellFormed().replaceAll(" ", SPACE_MARK);
    const { where, doubled } = this.#parts.dummyPrefix;
    const wanted = where === "always" || (where === "first" && first);
    if (wanted && (doubled || !marked.startsWith(SPACE_MARK))) marked = SPACE_MARK + marked;
    for (const [word] of marked.matchAll(this.#word)) this.#encodeWord(word, out);
  }

  #encodeWord(word: string, out: IdBuffer): void {
    const known = this.#cache.get(word);
    if (known) {
      out.reserve(known.length);
      out.data.set(known, out.length);
      out.length += known.length;
      return;
    }
    const start = out.length;
    this.#engine.mergeLong(this.#symbolsOf(word), out);
    for (let i = start; i < out.length; i++) out.data[i] = this.#rules.idOf(out.data[i]!);
    if (word.length > CACHED_LENGTH) return;
    if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
    this.#cache.set(word, out.data.slice(start, out.length));
  }

  /** Returns the ids of its characters, as bytes for those that are not tokens. */
  #symbolsOf(word: string): Int32Array {
    const symbols: number[] = [];
    for (const character of word) {
      const id = this.#parts.ids.get(character);
      if (id !== undefined) symbols.push(id);
      else for (const byte of encoder.encode(character)) symbols.push(this.#byteIds[byte]!);
    }
    return Int32Array.from(symbols);
  }
}

/** Returns the token for a byte. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** Returns the bytes that a token stands for. */
function bytesOf(token: string): Uint8Array {
  const byte = BYTE_TOKEN.exec(token)?.[1];
  if (byte !== undefined) return Uint8Array.of(parseInt(byte, 16));
  return encoder.encode(token.replaceAll(SPACE_MARK, " "));
}

/**
 * Reads where a space is put before a text: by the normalizers `Prepend` and `Replace` or, in newer files, by the
 * pre-tokenizer `Metaspace`.
 */
export function readDummyPrefix(json: Fields, checks: FieldChecks): DummyPrefix {
  let replaced = false;
  let found: DummyPrefix = { where: "never", doubled: false };
  for (const { step, path } of checks.steps(json.normalizer, "normalizer", "normalizers")) {
    if (step.type === "Prepend") {
      if (step.prepend !== SPACE_MARK) {
        checks.fail(`${path}.prepend`, `"${SPACE_MARK}"`, step.prepend);
      }
      if (replaced) checks.fail(path, "Prepend before Replace", step);
      found = { where: "always", doubled: true };
    } else if (step.type === "Replace") {
      checkReplace(step, path, " ", SPACE_MARK, checks);
      replaced = true;
    } else {
      checks.fail(`${path}.type`, `"Prepend" or "Replace"`, step.type);
    }
  }
  for (const { step, path } of checks.steps(json.pre_tokenizer, "pre_tokenizer", "pretokenizers")) {
    // Gemma's, which finds no spaces after Replace.
    const isIdle = replaced && step.type === "Split" &&
      checks.object(step.pattern, `${path}.pattern`).String === " ";
    if (isIdle) continue;
    if (step.type !== "Metaspace") {
      checks.fail(`${path}.type`, `"ByteLevel" or "Metaspace"`, step.type);
    }
    checks.only(step, path, "replacement", SPACE_MARK);
    if (step.split !== false) checks.fail(`${path}.split`, "false", step.split);
    if (replaced) checks.fail(path, "nothing after the normalizer Replace", step);
    const where = step.prepend_scheme ?? (step.add_prefix_space === false ? "never" : "always");
    if (where !== "always" && where !== "first" && where !== "never") {
      return checks.fail(`${path}.prepend_scheme`, `"always", "first" or "never"`, where);
    }
    found = { where, doubled: false };
    replaced = true;
  }
  if (!replaced) checks.fail("normalizer", `spaces that become "${SPACE_MARK}"`, json.normalizer);
  return found;
}

/** Returns the steps of a file that add and remove spaces, as {@linkcode readDummyPrefix} reads them. */
function spacesJson({ where, doubled }: DummyPrefix): Fields {
  // The normalizer `Prepend` puts a space before every part, also one that begins with a space.
  const isPrepended = where === "always" && doubled;
  const replace = (from: string, content: string) => ({
    ...{ type: "Replace", pattern: { String: from }, content },
  });
  const decoders = [replace(SPACE_MARK, " "), { type: "ByteFallback" }, { type: "Fuse" }];
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    normalizer: isPrepended
      ? {
        type: "Sequence",
        normalizers: [{ type: "Prepend", prepend: SPACE_MARK }, replace(" ", SPACE_MARK)],
      }
      : null,
    pre_tokenizer: isPrepended
      ? null
      : { type: "Metaspace", replacement: SPACE_MARK, prepend_scheme: where, split: false },
    decoder: { type: "Sequence", decoders: where === "never" ? decoders : [...decoders, strip] },
  };
}

/** Throws unless the decoder does what this library does. */
function checkDecoder(json: Fields, checks: FieldChecks): void {
  for (const { step, path } of checks.steps(json.decoder, "decoder", "decoders")) {
    switch (step.type) {
      case "ByteFallback":
      case "Fuse":
        break;
      case "Replace":
        checkReplace(step, path, SPACE_MARK, " ", checks);
        break;
      case "Metaspace":
        checks.only(step, path, "replacement", SPACE_MARK);
        break;
      case "Strip":
        checks.only(step, path, "content", " ");
        checks.only(step, path, "start", 0, 1);
        checks.only(step, path, "stop", 0);
        break;
      default:
        checks.fail(`${path}.type`, `"Replace", "ByteFallback", "Fuse" or "Strip"`, step.type);
    }
  }
}

function checkReplace(
  step: Fields,
  path: string,
  from: string,
  to: string,
  checks: FieldChecks,
): void {
  const pattern = checks.object(step.pattern, `${path}.pattern`).String;
  if (pattern !== from) checks.fail(`${path}.pattern.String`, JSON.stringify(from), pattern);
  if (step.content !== to) checks.fail(`${path}.content`, JSON.stringify(to), step.content);
}
