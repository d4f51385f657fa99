/**
 * Hugging Face's `tokenizer.json`: the checks of its fields, the parts that all kinds share, and the reading and
 * writing of byte-level byte pair encoding, as in GPT-2 and LLaMA 3.
 *
 * @module
 */
import { parseJson, shown } from "../io/json_text.ts";
import { PairTable } from "./hash_tables.ts";
import { MAX_VOCAB_SIZE, type RankedMerges } from "./merges.ts";
import { checkSpecialTokens, type Strip } from "./special_tokens.ts";
import {
  GPT2_PATTERN,
  GPT4_PATTERN,
  GPT4O_PATTERN,
  type PatternName,
  QWEN2_PATTERN,
  TEKKEN_PATTERN,
} from "./splitter.ts";
import { TokenizerFormatError } from "./tokenizer.ts";

/** Any JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

/** What a file contains besides how text is split. */
export interface TokenizerParts {
  /** The texts of all ids, as they are in the file; empty for ids that it leaves out. */
  readonly tokens: readonly string[];
  /** The ids of the model's own tokens; some of the added ones may not be among them. */
  readonly ids: ReadonlyMap<string, number>;
  /** The merges. */
  readonly merges: RankedMerges;
  /** Tokens that are only searched for if the caller allows it. */
  readonly special: ReadonlyMap<string, number>;
  /** Tokens that are always searched for. */
  readonly added: ReadonlyMap<string, number>;
  /** Which tokens of both kinds absorb the white space around them. */
  readonly strip: ReadonlyMap<string, Strip>;
  /** Ids that belong before a text. */
  readonly prefix: readonly number[];
  /** Ids that belong after a text. */
  readonly suffix: readonly number[];
}

/** Checks the values of a file; anything wrong throws a `TokenizerFormatError` that names the file and the field. */
export class FieldChecks {
  /** @param source what the messages call the file */
  constructor(readonly source: string) {}

  /** Throws. */
  fail(field: string, expected: string, found: unknown): never {
    throw new TokenizerFormatError(
      `${this.source}: ${field}: expected ${expected} but got ${shown(found)}`,
    );
  }

  /** Checks that a value is an object. */
  object(value: unknown, field: string): Fields {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Fields;
    }
    return this.fail(field, "an object", value);
  }

  /** Checks that a value is a list. */
  list(value: unknown, field: string): readonly unknown[] {
    return Array.isArray(value) ? value : this.fail(field, "a list", value);
  }

  /** Throws unless a field is missing, null or one of the values. */
  only(fields: Fields, path: string, name: string, ...values: unknown[]): void {
    const value = fields[name];
    if (value === undefined || value === null || values.includes(value)) return;
    const expected = values.map((one) => JSON.stringify(one)).join(" or ");
    this.fail(`${path}.${name}`, values.length ? expected : "nothing", value);
  }

  /** Returns a step that is one object, or the several of a `Sequence`, under the name of its list. */
  steps(value: unknown, field: string, list: string): { step: Fields; path: string }[] {
    if (value === null || value === undefined) return [];
    const whole = this.object(value, field);
    if (whole.type !== "Sequence") return [{ step: whole, path: field }];
    return this.list(whole[list], `${field}.${list}`).map((one, i) => {
      const path = `${field}.${list}[${i}]`;
      return { step: this.object(one, path), path };
    });
  }
}

/** Reads the JSON of a file. Throws a `TokenizerFormatError` if it is invalid. */
export async function readTokenizerFile(path: string | URL): Promise<unknown> {
  const text = await Deno.readTextFile(path);
  try {
    return parseJson(text);
  } catch (error) {
    throw new TokenizerFormatError(`${path}: expected JSON: ${(error as Error).message}`);
  }
}

/** Reads everything that does not depend on the kind. */
export function readParts(json: Fields, checks: FieldChecks): TokenizerParts {
  const model = checks.object(json.model, "model");
  if (model.type !== undefined && model.type !== "BPE") {
    checks.fail("model.type", `"BPE"`, model.type);
  }
  checks.only(model, "model", "dropout", 0);
  checks.only(model, "model", "continuing_subword_prefix", "");
  checks.only(model, "model", "end_of_word_suffix", "");
  const ids = readVocabulary(model, checks);
  const { tokens, special, added, strip } = readAddedTokens(json, ids, checks);
  return {
    ...{ tokens, ids, special, added, strip },
    merges: readMerges(model, ids, tokens.length, checks),
    ...readTemplate(json, tokens.length, checks),
  };
}

function readVocabulary(model: Fields, checks: FieldChecks): Map<string, number> {
  const vocab = checks.object(model.vocab, "model.vocab");
  const ids = new Map<string, number>();
  for (const [token, id] of Object.entries(vocab)) {
    const field = `model.vocab[${shown(token)}]`;
    if (!Number.isSafeInteger(id) || (id as number) < 0) checks.fail(field, "an id", id);
    ids.set(token, id as number);
  }
  return ids;
}

/**
 * The maximum number of ids without a token, such as the 17 that GPT-4's special tokens leave out: more would let a number
 * in the file decide how much memory is used.
 */
const MAX_UNUSED = 1024;

/** Reads the added tokens, and with them the texts of all ids. */
function readAddedTokens(
  json: Fields,
  ids: ReadonlyMap<string, number>,
  checks: FieldChecks,
): Pick<TokenizerParts, "tokens" | "special" | "added" | "strip"> {
  const special = new Map<string, number>();
  const added = new Map<string, number>();
  const strip = new Map<string, Strip>();
  const list = checks.list(json.added_tokens ?? [], "added_tokens");
  for (const [i, value] of list.entries()) {
    const path = `added_tokens[${i}]`;
    const token = checks.object(value, path);
    const { content, id } = token;
    checks.only(token, path, "single_word", false);
    checks.only(token, path, "lstrip", true, false);
    checks.only(token, path, "rstrip", true, false);
    if (typeof content !== "string") checks.fail(`${path}.content`, "a text", content);
    if (!Number.isSafeInteger(id) || (id as number) < 0) checks.fail(`${path}.id`, "an id", id);
    const known = ids.get(content as string);
    if (known !== undefined && known !== id) {
      checks.fail(`${path}.id`, `${known}, as in the vocabulary`, id);
    }
    (token.special === true ? special : added).set(content as string, id as number);
    const sides = { left: token.lstrip === true, right: token.rstrip === true };
    if (sides.left || sides.right) strip.set(content as string, sides);
  }
  try {
    checkSpecialTokens([...special.keys(), ...added.keys()], "added_tokens");
  } catch (error) {
    throw new TokenizerFormatError(`${checks.source}: ${(error as Error).message}`);
  }

  const all = new Map([...ids, ...special, ...added]);
  if (all.size > MAX_VOCAB_SIZE) {
    checks.fail("model.vocab", `at most ${MAX_VOCAB_SIZE} ids`, all.size);
  }
  const end = all.size + MAX_UNUSED;
  const tokens = new Array<string | undefined>(end).fill(undefined);
  for (const [token, id] of all) {
    const field = `id of ${shown(token)}`;
    if (id >= end) checks.fail(field, `one below ${end}, with ${all.size} tokens`, id);
    if (tokens[id] !== undefined) checks.fail(field, "one of its own", id);
    tokens[id] = token;
  }
  const size = tokens.findLastIndex((token) => token !== undefined) + 1;
  const texts = tokens.slice(0, size).map((token) => token ?? "");
  return { tokens: texts, special, added, strip };
}

/** Reads merges as pairs of texts or, in older files, as texts joined by a space. */
function readMerges(
  model: Fields,
  ids: ReadonlyMap<string, number>,
  vocabSize: number,
  checks: FieldChecks,
): RankedMerges {
  const list = checks.list(model.merges, "model.merges");
  // A merge engine numbers tokens and merges in one sequence.
  if (vocabSize + list.length > MAX_VOCAB_SIZE) {
    checks.fail("model.merges", `at most ${MAX_VOCAB_SIZE - vocabSize} merges`, list.length);
  }
  const ranks = new PairTable();
  const pairs = new Int32Array(2 * list.length);
  const results = new Int32Array(list.length);
  for (let rank = 0; rank < list.length; rank++) {
    const merge = list[rank];
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const known = Array.isArray(pair) && pair.length === 2 && pair.every((part) => ids.has(part));
    if (!known) checks.fail(`model.merges[${rank}]`, "two tokens", merge);
    const [left, right] = pair as [string, string];
    const result = ids.get(left + right);
    if (result === undefined) {
      checks.fail(`model.merges[${rank}]`, "a pair that makes a token", merge);
    }
    pairs.set([ids.get(left)!, ids.get(right)!], 2 * rank);
    ranks.set(ids.get(left)!, ids.get(right)!, rank);
    results[rank] = result!;
  }
  return { ranks, pairs, results };
}

/** The maximum number of ids before or after a text; each piece of a template may refer to the same list. */
const MAX_AROUND = 1024;

/** Reads the ids that the post-processor puts around a text. */
function readTemplate(
  json: Fields,
  vocabSize: number,
  checks: FieldChecks,
): { prefix: number[]; suffix: number[] } {
  const prefix: number[] = [], suffix: number[] = [];
  for (const { step, path } of checks.steps(json.post_processor, "post_processor", "processors")) {
    if (step.type === "ByteLevel") continue; // moves offsets, which are not used here
    if (step.type !== "TemplateProcessing") {
      checks.fail(`${path}.type`, `"ByteLevel" or "TemplateProcessing"`, step.type);
    }
    const special = checks.object(step.special_tokens, `${path}.special_tokens`);
    let into = prefix;
    for (const [i, value] of checks.list(step.single, `${path}.single`).entries()) {
      const field = `${path}.single[${i}]`;
      const piece = checks.object(value, field);
      if (piece.Sequence !== undefined) {
        into = suffix;
        continue;
      }
      const { id } = checks.object(piece.SpecialToken, `${field}.SpecialToken`);
      const known = typeof id === "string" && Object.hasOwn(special, id) ? special[id] : undefined;
      const name = `${path}.special_tokens[${shown(id)}]`;
      for (const one of checks.list(checks.object(known, name).ids, `${name}.ids`)) {
        const isId = Number.isSafeInteger(one) && (one as number) >= 0 &&
          (one as number) < vocabSize;
        if (!isId) checks.fail(`${name}.ids`, `ids below ${vocabSize}`, one);
        into.push(one as number);
        if (into.length > MAX_AROUND) {
          checks.fail(field, `at most ${MAX_AROUND} ids`, into.length);
        }
      }
    }
  }
  return { prefix, suffix };
}

/** What a byte-level tokenizer does besides merging. */
export interface BytePairOptions {
  /** The pattern that splits text into words. */
  readonly pattern: PatternName;
  /** Whether text is first converted to Unicode's normal form C. */
  readonly nfc: boolean;
  /** Whether a word that is a token is not merged. */
  readonly ignoreMerges: boolean;
}

/** The contents of a byte-level tokenizer's file. */
interface ByteLevelFile
  extends
    BytePairOptions,
    Pick<TokenizerParts, "special" | "added" | "strip" | "prefix" | "suffix"> {
  /** The ids of the tokens in the alphabet of bytes. */
  readonly vocab: Iterable<readonly [string, number]>;
  /** Pairs of tokens joined by a space, which all versions of the library read. */
  readonly merges: readonly string[];
}

/** Returns the content of the file. */
export function byteLevelJson(file: ByteLevelFile): Fields {
  const { pattern, prefix, suffix } = file;
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const regex = REGEXES[pattern];
  const split = {
    ...{ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false },
  };
  const words = regex ? [split] : pattern === "smollm" ? [DIGITS] : [];
  const last = { ...byteLevel, use_regex: regex === undefined };
  return {
    ...commonJson(file),
    normalizer: file.nfc ? { type: "NFC" } : null,
    pre_tokenizer: words.length ? { type: "Sequence", pretokenizers: [...words, last] } : last,
    post_processor: prefix.length + suffix.length > 0
      ? templateJson(file)
      : { ...byteLevel, use_regex: false },
    decoder: { ...byteLevel, use_regex: false },
    model: {
      ...{ type: "BPE", dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false },
      ...{ continuing_subword_prefix: null, end_of_word_suffix: null },
      ignore_merges: file.ignoreMerges,
      vocab: Object.fromEntries(file.vocab),
      merges: file.merges,
    },
  };
}

/** Returns the beginning of every kind of file. */
export function commonJson(
  { special, added, strip }: Pick<TokenizerParts, "special" | "added" | "strip">,
): Fields {
  const flags = { single_word: false, normalized: false };
  const all = [...special, ...added].sort(([, a], [, b]) => a - b);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: all.map(([content, id]) => ({
      ...{ id, content, ...flags, special: special.has(content) },
      lstrip: strip.get(content)?.left ?? false,
      rstrip: strip.get(content)?.right ?? false,
    })),
  };
}

/** Returns the ids around a text; pieces that are not added tokens get made-up names. */
export function templateJson(
  { special, added, prefix, suffix }: Pick<
    TokenizerParts,
    "special" | "added" | "prefix" | "suffix"
  >,
): Fields {
  const names = new Map([...special, ...added].map(([content, id]) => [id, content]));
  const nameOf = (id: number) => names.get(id) ?? `<id ${id}>`;
  const pieces = (ids: readonly number[], type_id: number) =>
    ids.map((id) => ({ SpecialToken: { id: nameOf(id), type_id } }));
  const around = (id: string, type_id: number) => [
    ...pieces(prefix, type_id),
    { Sequence: { id, type_id } },
    ...pieces(suffix, type_id),
  ];
  const used = [...new Set([...prefix, ...suffix])].map((id) => [nameOf(id), id] as const);
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(
      used.map(([name, id]) => [name, { id: name, ids: [id], tokens: [name] }]),
    ),
  };
}

/** The patterns of the step `Split`; those missing here use other steps. */
const REGEXES: Readonly<Partial<Record<PatternName, string>>> = {
  gpt4: GPT4_PATTERN,
  qwen2: QWEN2_PATTERN,
  tekken: TEKKEN_PATTERN,
  gpt4o: GPT4O_PATTERN,
};
const PATTERNS: ReadonlyMap<unknown, PatternName> = new Map([
  [GPT2_PATTERN, "gpt2"],
  ...Object.entries(REGEXES).map(([name, regex]) => [regex, name as PatternName] as const),
]);

/** Splits off every digit by itself. */
const DIGITS = { type: "Digits", individual_digits: true };

/** Reads how text is split into words. */
export function readPattern(json: Fields, checks: FieldChecks): PatternName {
  const steps = checks.steps(json.pre_tokenizer, "pre_tokenizer", "pretokenizers");
  const { step: last, path } = steps.at(-1)!; // the caller found a ByteLevel among them
  if (steps.length > 2 || last.type !== "ByteLevel") {
    checks.fail(
      "pre_tokenizer",
      "ByteLevel, or Split or Digits and then ByteLevel",
      steps.map(({ step }) => step.type),
    );
  }
  if (last.add_prefix_space !== false) {
    checks.fail(`${path}.add_prefix_space`, "false", last.add_prefix_space);
  }
  if (steps.length === 1) {
    checks.only(last, path, "use_regex", true);
    return "gpt2";
  }
  const { step: split, path: splitPath } = steps[0]!;
  if (split.type === "Digits") {
    checks.only(last, path, "use_regex", true);
    if (split.individual_digits === true) return "smollm";
    checks.fail(`${splitPath}.individual_digits`, "true", split.individual_digits);
  }
  if (split.type !== "Split") checks.fail(`${splitPath}.type`, `"Split" or "Digits"`, split.type);
  if (last.use_regex !== false) checks.fail(`${path}.use_regex`, "false", last.use_regex);
  // Every character belongs to a match, so it makes no difference which parts are kept by themselves.
  const isRemoved = split.behavior === "Removed";
  if (!isRemoved) checks.only(split, splitPath, "behavior", "Isolated");
  checks.only(split, splitPath, "invert", isRemoved);
  const { Regex: regex } = checks.object(split.pattern, `${splitPath}.pattern`);
  const pattern = PATTERNS.get(regex);
  return pattern ?? checks.fail(`${splitPath}.pattern.Regex`, "that of a known model", regex);
}
