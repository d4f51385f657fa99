// The tokenizer of a corpus, which threads rebuild from a message.
import { createHash } from "../../io/node_builtins.ts";
import { END_OF_TEXT, GPT2Tokenizer } from "../../tokenizer/gpt2_tokenizer.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { ByteLevelTokenizer } from "../../tokenizer/tokenizer_base.ts";
import { tokenizerFromJson } from "../../tokenizer/tokenizer_json.ts";
import { type Cut, cutAtWord, cutBeforeWord } from "./cuts.ts";

/** What a thread needs to tokenize; without `json` by GPT-2's tokenizer. */
export interface TokenizerMessage {
  /** The content of its `tokenizer.json`. */
  readonly json?: unknown;
  /** The token before each document. */
  readonly separator: number;
}

/** Token ids: two bytes each if that suffices for the vocabulary, else four. */
export type CorpusTokens = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** A tokenizer, and what else follows from it. */
export class CorpusTokenizer {
  /** What a manifest keeps of it: `gpt2`, or a SHA-256. */
  readonly id: string;
  readonly tokenizer: ByteLevelTokenizer;
  /** The token before each document. */
  readonly separator: number;
  /** The type of the ids in shards. */
  readonly type: "u2" | "u4";
  /** Where a text may be cut without a change of its tokens. */
  readonly cut: Cut;
  readonly #json: unknown;

  /**
   * Throws a `TypeError` for a tokenizer that is not byte-level, whose texts cannot be cut, and a `RangeError` if there is
   * no separator or it is no id.
   */
  constructor(tokenizer: Tokenizer = new GPT2Tokenizer(), separator?: number) {
    if (!(tokenizer instanceof ByteLevelTokenizer)) {
      throw new TypeError(
        "prepareCorpus: expected a byte-level tokenizer, such as GPT-2's or one that is trained here, but got " +
          tokenizer.constructor.name,
      );
    }
    separator ??= tokenizer.specialTokens.get(END_OF_TEXT);
    if (!(separator !== undefined && separator >= 0 && separator < tokenizer.vocabSize)) {
      throw new RangeError(
        `prepareCorpus: expected a documentSeparator, or a tokenizer with ${END_OF_TEXT}, but got ` +
          (separator ?? "neither"),
      );
    }
    this.#json = tokenizer instanceof GPT2Tokenizer ? undefined : tokenizer.toJSON();
    const key = JSON.stringify([this.#json, separator]);
    this.id = this.#json === undefined ? "gpt2" : createHash("sha256").update(key).digest("hex");
    this.tokenizer = tokenizer;
    this.separator = separator;
    this.type = tokenizer.vocabSize <= 2 ** 16 ? "u2" : "u4";
    // Only in these two patterns no word has a mark and the line end after it.
    this.cut = ["gpt2", "smollm"].includes(tokenizer.pattern) ? cutAtWord : cutBeforeWord;
  }

  /** Rebuilds one from its message. */
  static from({ json, separator }: TokenizerMessage): CorpusTokenizer {
    return new CorpusTokenizer(json === undefined ? undefined : tokenizerFromJson(json), separator);
  }

  /** Returns a message from which {@linkcode CorpusTokenizer.from} makes an equal one. */
  message(): TokenizerMessage {
    return { json: this.#json, separator: this.separator };
  }

  /** Returns an array for so many ids. */
  array(length: number): CorpusTokens {
    return this.type === "u2" ? new Uint16Array(length) : new Uint32Array(length);
  }
}
