/** What `next_token_byte_pair.ts` shows of a model beside its losses. */
import {
  type AttentionLayer,
  type BytePairTokenizer,
  generate,
  noGrad,
  RandomState,
  readTensors,
  Scope,
  type Tensor,
  tensor,
} from "../../mod.ts";
import type { Model } from "./models.ts";
import type { Options } from "./options.ts";

/** Without a prompt a text begins after a line that has ended. */
const BEGINNING = "\n";

/** A picture of more tokens cannot be read. */
const MOST_TOKENS = 24;

/** Continuations of the prompt, and texts without one. */
export async function drawSamples(
  model: Model,
  tokenizer: BytePairTokenizer,
  seed: number,
  { prompt, samples, sampleLength: length, temperature }: Options,
): Promise<{ after: string; text: string }[]> {
  const drawn: { after: string; text: string }[] = [];
  if (samples === 0) return drawn;
  const random = new RandomState(seed);
  for (const [after, start] of [["with the prompt", prompt], ["without a prompt", BEGINNING]]) {
    const texts = await generate(model, [tokenizer.encodeOrdinary(start)], {
      ...{ length, samples, temperature, topK: 50, random },
      overflow: "slide",
    });
    for (const { ids } of texts) {
      drawn.push({ after, text: (start === prompt ? prompt : "") + tokenizer.decode(ids) });
    }
  }
  return drawn;
}

/** The attention weights of all layers while the model reads a text. */
export async function readAttention(
  model: Model,
  tokenizer: BytePairTokenizer,
  text: string,
): Promise<AttentionLayer[]> {
  const most = Math.min(MOST_TOKENS, model.config.maxPositionEmbeddings);
  const ids = tokenizer.encodeOrdinary(text).slice(0, most);
  const tokens = Array.from(ids, (id) => tokenizer.decode([id]));
  using _scope = new Scope();
  const seen: { name: string; weights: Tensor }[] = [];
  noGrad(() => {
    const batch = tensor(Int32Array.from(ids), { shape: [1, ids.length], device: model.device });
    model.hidden(batch, {
      observe: (weights, name) => seen.push({ name, weights: weights.keep() }),
    });
  });
  const values = await readTensors(seen.map(({ weights }) => weights));
  return seen.map(({ name, weights }, i) => {
    const [, heads, queries, keys] = weights.shape;
    weights.dispose();
    return {
      ...{ name, heads, queries, keys },
      weights: values[i] as Float32Array,
      queryTokens: tokens,
      keyTokens: tokens,
    };
  });
}

/** The values and the gradients of all parameters, by names for TensorBoard. */
export async function readParameters(model: Model): Promise<Record<string, Float32Array>> {
  const entries = [...model.parameters()].flatMap(([name, parameter]) => [
    { name: `weights/${name}`, tensor: parameter },
    ...(parameter.grad ? [{ name: `gradients/${name}`, tensor: parameter.grad }] : []),
  ]);
  const values = await readTensors(entries.map(({ tensor }) => tensor));
  return Object.fromEntries(entries.map(({ name }, i) => [name, values[i] as Float32Array]));
}
