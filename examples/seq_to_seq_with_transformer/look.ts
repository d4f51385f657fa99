/** What is shown of a translator: its translations beside the right ones, and where its attention looks. */
import {
  argmax,
  type AttentionLayer,
  halvingWeights,
  noGrad,
  readTensors,
  Scope,
  sentenceBleu,
  type Tensor,
  tensor,
  TranslationRows,
  wordsOf,
} from "../../mod.ts";
import type { Interpreter } from "../../src/cli/interpreter.ts";
import type { Sentence } from "./data.ts";
import { upload } from "./evaluate.ts";

/**
 * Lines about each sentence: its translations by beams of 1, 2 and 3 with their BLEU, and what the model says
 * when it is told the words before.
 */
export async function compareAll(
  interpreter: Interpreter,
  sentences: readonly Sentence[],
): Promise<string[][]> {
  const lines = sentences.map(({ source, references }) => [
    `> ${source}`,
    `= ${references.join(" | ")}`,
  ]);
  for (const width of [1, 2, 3]) {
    const found = await interpreter.translate(sentences.map(({ source }) => source), width);
    sentences.forEach(({ references }, i) => {
      const bleu = sentenceBleu(references, found[i]);
      const halving = sentenceBleu(references, found[i], { weights: halvingWeights() });
      const scores = `BLEU-4 ${bleu.toFixed(3)}, by weights 1/2^n ${halving.toFixed(3)}`;
      lines[i].push(`beam ${width}: ${found[i]} (${scores})`);
    });
  }
  for (const [i, { source, references }] of sentences.entries()) {
    lines[i].push(`teacher-forced: ${await forced(interpreter, source, references[0])}`);
  }
  return lines;
}

/** The weights of every attention while a sentence and its translation are read, by the layers' names. */
export async function readAttention(
  interpreter: Interpreter,
  sentence: string,
  translation: string,
): Promise<Map<string, AttentionLayer>> {
  using _scope = new Scope();
  const seen: { name: string; weights: Tensor }[] = [];
  const read = interpreter.target.encode(translation).slice(0, -1);
  const inputs = Int32Array.of(interpreter.target.startId, ...read);
  noGrad(() =>
    interpreter.model.logits(
      interpreter.read([sentence]),
      tensor(inputs, { shape: [1, inputs.length], device: interpreter.model.device }),
      {
        observe: (weights, name) => seen.push({ name, weights: weights.keep() }),
      },
    )
  );
  try {
    const values = await readTensors(seen.map(({ weights }) => weights));
    const words = {
      source: [...wordsOf(sentence), interpreter.source.specialTokens.end],
      target: [interpreter.target.specialTokens.start, ...wordsOf(translation)],
    };
    return new Map(seen.map(({ name, weights }, i) => {
      const [, heads, queries, keys] = weights.shape;
      return [name, {
        ...{ name, heads, queries, keys },
        weights: values[i] as Float32Array,
        queryTokens: name.startsWith("encoder") ? words.source : words.target,
        keyTokens: /encoder|cross/.test(name) ? words.source : words.target,
      }];
    }));
  } finally {
    for (const { weights } of seen) weights.dispose();
  }
}

/** What the model says for each word of the translation, told the right ones before it. */
async function forced(
  interpreter: Interpreter,
  source: string,
  target: string,
): Promise<string> {
  using _scope = new Scope();
  const lengths = {
    sourceLength: wordsOf(source).length + 1,
    targetLength: wordsOf(target).length + 1,
  };
  const rows = new TranslationRows(
    [{ source, target }],
    interpreter.source,
    interpreter.target,
    lengths,
  );
  const { sourceIds, decoderInputIds } = upload(rows.batch([0]), interpreter.model.device);
  const said = noGrad(() => argmax(interpreter.model.logits(sourceIds, decoderInputIds), -1));
  return interpreter.target.decode(await said.data());
}
