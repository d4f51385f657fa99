/** Samples and attention weights that `next_token_byte_pair.ts` shows of a model. */
import {
  type AttentionLayer,
  type BytePairTokenizer,
  formatSample,
  generate,
  RandomState,
  readSelfAttention,
  shuffledOrder,
} from "../../mod.ts";
import type { Model } from "./models.ts";
import type { Options } from "./options.ts";

/** A picture of more tokens would be unreadable. */
const MOST_TOKENS = 24;

/** Text that a model wrote, for a log. */
export interface Sample {
  /** What it began with, described in words. */
  readonly after: string;
  readonly text: string;
}

/** Samples continuations of the prompt, and texts that begin with a random token. */
export async function drawSamples(
  model: Model,
  tokenizer: BytePairTokenizer,
  seed: number,
  { prompt, samples, sampleLength: length, temperature, ...options }: Options,
): Promise<Sample[]> {
  const drawn: Sample[] = [];
  if (samples === 0) return drawn;
  const topK = Math.min(options.topK, tokenizer.vocabSize);
  const random = new RandomState(seed);
  const draw = (prompts: ArrayLike<number>[], samples: number) =>
    generate(model, prompts, { length, samples, topK, temperature, random, overflow: "slide" });
  const starts = Array.from(
    shuffledOrder(tokenizer.vocabSize, seed, 0).subarray(0, samples),
    (id) => [id],
  );
  for (const [i, { ids }] of (await draw(starts, 1)).entries()) {
    const text = tokenizer.decode([...starts[i]!, ...ids]);
    drawn.push({ after: "after a random token", text: formatSample(text) });
  }
  for (const { ids } of await draw([tokenizer.encodeOrdinary(prompt)], samples)) {
    drawn.push({ after: "after the prompt", text: formatSample(tokenizer.decode(ids), prompt) });
  }
  return drawn;
}

/** The attention weights of all layers while the model reads the beginning of a text. */
export async function readBeginning(
  model: Model,
  tokenizer: BytePairTokenizer,
  text: string,
): Promise<AttentionLayer[]> {
  const most = Math.min(MOST_TOKENS, model.config.maxPositionEmbeddings);
  return await readSelfAttention(model, tokenizer, tokenizer.encodeOrdinary(text).slice(0, most));
}
