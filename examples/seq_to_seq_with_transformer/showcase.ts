/** What is shown of a translator, during training and at its end. */
import { corpusBleu, openProgress } from "../../mod.ts";
import type { Interpreter } from "../../src/cli/interpreter.ts";
import { type Corpus, type Sentence, someSentences } from "./data.ts";
import { compareAll, readTranslation } from "./look.ts";
import type { Options } from "./options.ts";
import type { Report } from "./report.ts";

/** Sentences translated at a time. */
const BATCH = 64;

/** True if translations are shown after an epoch, counted from 1: the first and every tenth. */
export function isShown(epoch: number): boolean {
  return epoch === 1 || epoch % 10 === 0;
}

/** Shows some translations after an epoch, and the decoder's attention for the longest of these sentences. */
export async function showEpoch(
  interpreter: Interpreter,
  { shown }: Corpus,
  report: Report,
  options: Options,
  { epoch, step }: { epoch: number; step: number },
): Promise<void> {
  const { name, pairs } = shown[0]!;
  const sentences = someSentences(pairs, options.samples);
  report.line(`translations of sentences ${name}, after epoch ${epoch}:`);
  report.samples(name, step, await compareAll(interpreter, sentences));
  const file = `cross_epoch_${String(epoch).padStart(3, "0")}`;
  await drawAttention(interpreter, report, longest(sentences), { epoch, step }, [
    { tag: "cross", file, pattern: /cross_attn/ },
  ]);
}

/** Shows BLEU with beams of 1, 2 and 3, more translations, attention maps and the curves. */
export async function showcase(
  interpreter: Interpreter,
  { shown }: Corpus,
  report: Report,
  options: Options,
  step: number,
): Promise<void> {
  const { name, pairs } = shown[0]!;
  const scored = someSentences(pairs, options.scored);
  for (const width of [1, 2, 3]) {
    const bleu = await scoreBleu(interpreter, scored, width);
    report.bleu(width, bleu, step);
    const percent = (100 * bleu).toFixed(2);
    report.line(`beam ${width}: corpus BLEU-4 ${percent} on ${scored.length} sentences ${name}`);
  }
  for (const { name, pairs } of shown) {
    report.line(`translations of sentences ${name}:`);
    const some = someSentences(pairs, options.samples);
    report.samples(name, step, await compareAll(interpreter, some));
  }
  const { epochs: epoch } = options;
  await drawAttention(interpreter, report, longest(scored), { epoch, step }, [
    { tag: "encoder", pattern: /^encoder/ },
    { tag: "decoder", pattern: /^decoder.*self_attn/ },
    { tag: "cross", pattern: /cross_attn/ },
  ]);
  report.line(`curves: ${await report.drawCurves("English to French")}`);
}

async function scoreBleu(
  interpreter: Interpreter,
  sentences: Sentence[],
  width: number,
): Promise<number> {
  using progress = await openProgress({
    label: `BLEU, beam ${width}`,
    total: sentences.length,
    unit: "sentences",
  });
  const found: string[] = [];
  while (found.length < sentences.length) {
    const next = sentences.slice(found.length, found.length + BATCH);
    const translations = await interpreter.translate(next.map(({ source }) => source), width);
    found.push(...translations.map(({ text }) => text));
    progress.update(found.length);
  }
  return corpusBleu(sentences.map(({ references }) => references), found);
}

/** Draws one picture per pattern, of the attentions whose names match it, for a sentence and its translation. */
async function drawAttention(
  interpreter: Interpreter,
  report: Report,
  { source }: Sentence,
  { epoch, step }: { epoch: number; step: number },
  pictures: { tag: string; file?: string; pattern: RegExp }[],
): Promise<void> {
  const text = (await interpreter.translate([source], 3))[0]!.text;
  const layers = await readTranslation(interpreter, source, text);
  const title = `${source} → ${text} (epoch ${epoch})`;
  for (const { tag, file, pattern } of pictures) {
    const some = layers.filter(({ name }) => pattern.test(name));
    const path = await report.drawAttention({ tag, file, title }, some, step);
    report.line(`attention, ${tag}: ${path}`);
  }
}

function longest(sentences: Sentence[]): Sentence {
  return sentences.toSorted((a, b) => b.source.length - a.source.length)[0]!;
}
