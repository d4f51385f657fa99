/**
 * Byte-level byte pair encoding in a `tokenizer.json`, as GPT-2 and LLaMA 3 have it.
 *
 * @module
 */
import { GPT2_PATTERN, GPT4_PATTERN, type PatternName } from "./splitter.ts";
import type { FieldChecks, Fields, TokenizerParts } from "./tokenizer_json_fields.ts";

/** What is written of a byte-level tokenizer. */
export interface ByteLevelFile
  extends Pick<TokenizerParts, "special" | "added" | "prefix" | "suffix"> {
  /** How text is cut into words. */
  readonly pattern: PatternName;
  /** Ids of the tokens in the alphabet of bytes. */
  readonly vocab: Iterable<readonly [string, number]>;
  /** Pairs of tokens with a space between, which all versions of the library read. */
  readonly merges: readonly string[];
  /** Whether a word that is a token is not merged. */
  readonly ignoreMerges: boolean;
}

/** The content of the file. */
export function byteLevelJson(file: ByteLevelFile): Fields {
  const { special, added, pattern, prefix, suffix } = file;
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const split = {
    ...{ type: "Split", pattern: { Regex: GPT4_PATTERN }, behavior: "Isolated", invert: false },
  };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const all = [...special, ...added].sort(([, a], [, b]) => a - b);
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: all.map(([content, id]) => ({
      ...{ id, content, ...flags, special: special.has(content) },
    })),
    normalizer: null,
    pre_tokenizer: pattern === "gpt2" ? { ...byteLevel, use_regex: true } : {
      type: "Sequence",
      pretokenizers: [split, { ...byteLevel, use_regex: false }],
    },
    post_processor: prefix.length + suffix.length > 0
      ? templateJson(all, prefix, suffix)
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

/** Ids around a text; the names of pieces that are no added tokens are made up. */
function templateJson(
  added: readonly (readonly [string, number])[],
  prefix: readonly number[],
  suffix: readonly number[],
): Fields {
  const names = new Map(added.map(([content, id]) => [id, content]));
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

const PATTERNS: ReadonlyMap<unknown, PatternName> = new Map([
  [GPT2_PATTERN, "gpt2"],
  [GPT4_PATTERN, "gpt4"],
]);

/** How text is cut into words. */
export function readPattern(json: Fields, checks: FieldChecks): PatternName {
  const steps = checks.steps(json.pre_tokenizer, "pre_tokenizer", "pretokenizers");
  const { step: last, path } = steps.at(-1)!; // the caller found a ByteLevel among them
  if (steps.length > 2 || last.type !== "ByteLevel") {
    checks.fail(
      "pre_tokenizer",
      "ByteLevel, or Split and then ByteLevel",
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
  if (split.type !== "Split") checks.fail(`${splitPath}.type`, `"Split"`, split.type);
  if (last.use_regex !== false) checks.fail(`${path}.use_regex`, "false", last.use_regex);
  checks.only(split, splitPath, "behavior", "Isolated");
  checks.only(split, splitPath, "invert", false);
  const { Regex: regex } = checks.object(split.pattern, `${splitPath}.pattern`);
  const pattern = PATTERNS.get(regex);
  return pattern ?? checks.fail(`${splitPath}.pattern.Regex`, "GPT-2's or GPT-4's", regex);
}
