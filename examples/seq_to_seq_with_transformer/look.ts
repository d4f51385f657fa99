/** What is shown of a translator: its translations beside the expected ones, and its attention. */
import {
  argmax,
  type AttentionLayer,
  halvingWeights,
  noGrad,
  readAttention,
  Scope,
  sentenceBleu,
  tensor,
  TranslationRows,
  wordsOf,
} from "../../mod.ts";
import { type Interpreter, LENGTH_EXPONENT } from "../../src/cli/interpreter.ts";
import type { Sentence } from "./data.ts";
import { upload } from "./evaluate.ts";

/** Explains the figures of {@linkcode compareAll}. */
export const LEGEND =
  `score: log-probability / words^${LENGTH_EXPONENT}; BLEU-4, 0 where no four words in a row are ` +
  "right, and by weights 1/2^n";

/**
 * Returns lines about each sentence: the expected translations, those of beams of 1, 2 and 3 with their scores, and
 * the model's predictions with teacher forcing.
 */
export async function compareAll(
  interpreter: Interpreter,
  sentences: readonly Sentence[],
): Promise<string[][]> {
  const lines = sentences.map(({ source, references }) => [
    `${source} (expected: ${references.join(" | ")})`,
  ]);
  for (const width of [1, 2, 3]) {
    const found = await interpreter.translate(sentences.map(({ source }) => source), width);
    sentences.forEach(({ references }, i) => {
      const { text, score } = found[i]!;
      const bleu = sentenceBleu(references, text);
      const halving = sentenceBleu(references, text, { weights: halvingWeights() });
      lines[i]!.push(
        `-> beam ${width} | score ${score.toFixed(4).padStart(8)} | BLEU-4 ${bleu.toFixed(3)}, ` +
          `by 1/2^n ${halving.toFixed(3)} | ${text}`,
      );
    });
  }
  for (const [i, { source, references }] of sentences.entries()) {
    lines[i]!.push(`-> teacher forcing | ${await forced(interpreter, source, references[0]!)}`);
  }
  return lines;
}

/**
 * The weights of every attention for a sentence and its translation. Rows of self-attention are the words read, those
 * of cross-attention the words produced.
 */
export async function readTranslation(
  interpreter: Interpreter,
  sentence: string,
  translation: string,
): Promise<AttentionLayer[]> {
  const { model, source, target } = interpreter;
  using _scope = new Scope();
  const french = wordsOf(translation).slice(0, model.config.maxPositionEmbeddings - 1);
  const inputs = Int32Array.from([target.startId, ...french.map((word) => target.idOf(word))]);
  const ids = tensor(inputs, { shape: [1, inputs.length], device: model.device });
  const english = [...wordsOf(sentence), source.specialTokens.end];
  const read = [target.specialTokens.start, ...french];
  const produced = [...french, target.specialTokens.end];
  return await readAttention(
    (observe) => model.logits(interpreter.read([sentence]), ids, { observe }),
    (name) => ({
      queryTokens: name.startsWith("encoder") ? english : name.includes("cross") ? produced : read,
      keyTokens: /encoder|cross/.test(name) ? english : read,
    }),
  );
}

/** The model's prediction at every place of a row with teacher forcing; after the translation its input is `<PAD>`. */
async function forced(
  { model, source, target }: Interpreter,
  sentence: string,
  translation: string,
): Promise<string> {
  using _scope = new Scope();
  const length = model.config.maxPositionEmbeddings;
  const lengths = { sourceLength: length, targetLength: length };
  const pair = { source: sentence, target: translation };
  const row = new TranslationRows([pair], source, target, lengths).batch([0]);
  const { sourceIds, decoderInputIds } = upload(row, model.device);
  const said = noGrad(() => argmax(model.logits(sourceIds, decoderInputIds), -1));
  return Array.from(await said.data(), (id) => target.tokens[id]).join(" ");
}
