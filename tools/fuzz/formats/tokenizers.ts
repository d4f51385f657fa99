/**
 * Tokenizers and vocabularies as JSON.
 *
 * @module
 */
import { join } from "node:path";
import { BytePairTokenizer } from "../../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT4_PATTERN } from "../../../src/tokenizer/splitter.ts";
import { TextVocabulary } from "../../../src/tokenizer/text_vocabulary.ts";
import type { Tokenizer } from "../../../src/tokenizer/tokenizer.ts";
import { loadTokenizerJson } from "../../../src/tokenizer/tokenizer_json.ts";
import { BYTE_CHARACTERS } from "../../../src/tokenizer/vocabulary.ts";
import { AT_KEY, type Format, holds } from "../format.ts";
import { mutateBytes, mutateJsonText } from "../mutations.ts";
import type { Chance } from "../random.ts";

const TABLES = 16 << 20;
const TEXT = "low lower slowest 12345 \u{1f995} é<|endoftext|>\n\n  ";

/** A format that is one JSON file. */
function jsonFormat(
  name: string,
  seeds: readonly unknown[],
  load: (path: string) => Promise<void>,
): Format {
  return {
    name,
    place: AT_KEY,
    allowance: TABLES,
    prepare(folder) {
      const file = join(folder, "fuzz.json");
      return Promise.resolve((chance) => {
        const bytes = jsonBytes(chance.pick(seeds), chance);
        return {
          bytes: bytes.length,
          file,
          async read() {
            await Deno.writeFile(file, bytes);
            await load(file);
          },
        };
      });
    },
  };
}

function jsonBytes(value: unknown, chance: Chance): Uint8Array {
  const text = new TextEncoder().encode(
    chance.oneIn(8) ? JSON.stringify(value) : mutateJsonText(value, chance),
  );
  return chance.oneIn(8) ? mutateBytes(text, chance) : text;
}

function tryOut(tokenizer: Tokenizer): void {
  for (
    const ids of [tokenizer.encodeOrdinary(TEXT), tokenizer.encode(TEXT, { allowedSpecial: "all" })]
  ) {
    holds(
      ids.every((id) => id < tokenizer.vocabSize),
      `gives ids ${ids} of ${tokenizer.vocabSize}`,
    );
    tokenizer.decode(ids);
  }
}

const trained = BytePairTokenizer.train("low lower lowest slow slower slowest ".repeat(3), {
  merges: 12,
  specialTokens: ["<|endoftext|>", "<|pad|>"],
});

/** Hugging Face's `tokenizer.json`, over bytes and after SentencePiece. */
export const tokenizerJson: Format = jsonFormat(
  "tokenizer.json",
  [
    JSON.parse(JSON.stringify(trained)),
    byteLevel("gpt2"),
    byteLevel("gpt4"),
    sentencePiece(false),
    sentencePiece(true),
  ],
  async (path) => {
    const tokenizer = await loadTokenizerJson(path);
    holds(
      [...tokenizer.prefix, ...tokenizer.suffix].every((id) => id < tokenizer.vocabSize),
      "has a prefix or suffix out of its vocabulary",
    );
    tryOut(tokenizer);
  },
);

/** Vocabularies of translators. */
export const vocabulary: Format = jsonFormat(
  "vocabulary",
  [JSON.parse(
    JSON.stringify(TextVocabulary.fromSentences(["tom runs .", "tom sleeps toString ."])),
  )],
  async (path) => {
    const found = await TextVocabulary.load(path);
    const ids = found.encode("tom runs away __proto__ toString", 12);
    holds(ids.every((id) => id < found.size), `gives ids ${ids}`);
    found.decode(ids);
    const { unknownShare } = found.summary();
    holds(unknownShare >= 0 && unknownShare <= 1, `has ${unknownShare} unknown words`);
  },
);

function byteLevel(pattern: "gpt2" | "gpt4"): unknown {
  const asText = (bytes: Uint8Array) => Array.from(bytes, (byte) => BYTE_CHARACTERS[byte]).join("");
  const count = trained.vocabSize - trained.specialTokens.size;
  const tokens = Array.from({ length: count }, (_, id) => asText(trained.decodeBytes([id])));
  const step = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const split = { type: "Split", pattern: { Regex: GPT4_PATTERN }, behavior: "Isolated" };
  return {
    version: "1.0",
    added_tokens: [...trained.specialTokens].map(([content, id]) => ({
      ...{ id, content, special: true, single_word: false, lstrip: false, rstrip: false },
    })),
    normalizer: null,
    pre_tokenizer: pattern === "gpt2"
      ? step
      : { type: "Sequence", pretokenizers: [split, { ...step, use_regex: false }] },
    post_processor: template("<|endoftext|>", count),
    decoder: step,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: trained.merges.map(([left, right]) =>
        pattern === "gpt2" ? `${tokens[left]} ${tokens[right]}` : [tokens[left], tokens[right]]
      ),
      ignore_merges: pattern === "gpt4",
    },
  };
}

function sentencePiece(metaspace: boolean): unknown {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const words = ["▁", "l", "o", "w", "lo", "low", "▁low", "e", "r", "er"];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...words];
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return {
    added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true })),
    normalizer: metaspace
      ? null
      : { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace] },
    pre_tokenizer: metaspace
      ? { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false }
      : null,
    post_processor: template("<s>", 1),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        ...[{ type: "ByteFallback" }, { type: "Fuse" }],
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      ...{ type: "BPE", unk_token: "<unk>", byte_fallback: true },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ["l o", "lo w", "▁ low", "e r"],
    },
  };
}

function template(token: string, id: number): unknown {
  return {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
