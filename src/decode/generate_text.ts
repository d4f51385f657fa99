/**
 * Continues a text.
 *
 * @module
 */
import { StreamDecoder } from "../tokenizer/stream_decoder.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { PretrainedTokenizer } from "../tokenizer/tokenizer_base.ts";
import { generateTokens, type GenerateTokensOptions } from "./generate.ts";
import type { NextTokenModel } from "./next_token_model.ts";
import { StopStrings } from "./stop_strings.ts";

/** Options of {@linkcode generateText}. */
export interface GenerateTextOptions extends GenerateTokensOptions {
  /** The text ends before the first of these strings. Default: none. */
  readonly stop?: readonly string[];
}

/**
 * Continues `prompt`, in which special tokens count as ordinary text, and gives the new text in pieces as it comes.
 * A piece never ends inside a character, and nothing of a stop string or of the token of a stop id comes through.
 * Ids that only pad the model's vocabulary are never drawn.
 *
 * Throws a `RangeError` where the tokenizer has more ids than the model, for an empty prompt, and otherwise as
 * `generate`.
 *
 * @example
 * ```ts
 * import { CpuDevice, generateText, GPT2, GPT2Tokenizer } from "@dinograd/dinograd";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const sizes = { vocabSize: 50304, maxPositionEmbeddings: 16, hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 };
 * const model = new GPT2(sizes, { device });
 * let text = "It was";
 * for await (const piece of generateText(model, new GPT2Tokenizer(), text, { length: 4, stop: ["."] })) {
 *   text += piece;
 * }
 * ```
 */
export async function* generateText(
  model: NextTokenModel,
  tokenizer: Tokenizer,
  prompt: string,
  options?: GenerateTextOptions,
): AsyncGenerator<string, void, void> {
  const { stop = [], stopIds = [], ...rest } = options ?? {};
  if (tokenizer.vocabSize > model.config.vocabSize) {
    throw new RangeError(
      `generateText: the tokenizer has ${tokenizer.vocabSize} ids, the model only ` +
        `${model.config.vocabSize}`,
    );
  }
  const ends = new Set(stopIds);
  const decoder = new StreamDecoder(tokenizer);
  const filter = new StopStrings(stop);
  // What a file's tokenizer puts before a text, LLaMA's <s> for one.
  const { prefix = [] } = tokenizer as Partial<PretrainedTokenizer>;
  const ids = generateTokens(model, [...prefix, ...tokenizer.encodeOrdinary(prompt)], {
    vocabSize: tokenizer.vocabSize,
    ...rest,
    stopIds: ends,
  });
  for await (const id of ids) {
    if (ends.has(id)) break;
    const piece = filter.push(decoder.push(id));
    if (piece) yield piece;
    if (filter.found) return;
  }
  const last = filter.push(decoder.flush()) + filter.flush();
  if (last) yield last;
}
