/** What is shown of a translator at the end of its training. */
import { corpusBleu, openProgress } from "../../mod.ts";
import { type Corpus, someSentences } from "./data.ts";
import type { Interpreter } from "../../src/cli/interpreter.ts";
import { compareAll, readAttention } from "./look.ts";
import type { Options } from "./options.ts";
import type { Report } from "./report.ts";

/** Sentences that are translated at a time. */
const BATCH = 64;

/** BLEU of held-out sentences by beams of 1, 2 and 3, more samples, the maps of attention, the curves. */
export async function showcase(
  interpreter: Interpreter,
  corpus: Corpus,
  report: Report,
  options: Options,
  step: number,
): Promise<void> {
  const sentences = someSentences(corpus.validation, options.scored);
  const references = sentences.map((sentence) => sentence.references);
  for (const width of [1, 2, 3]) {
    using progress = await openProgress({
      label: `BLEU, beam ${width}`,
      total: sentences.length,
      unit: "sentences",
    });
    const found: string[] = [];
    while (found.length < sentences.length) {
      const next = sentences.slice(found.length, found.length + BATCH);
      found.push(...await interpreter.translate(next.map(({ source }) => source), width));
      progress.update(found.length);
    }
    const bleu = corpusBleu(references, found);
    report.bleu(width, bleu, step);
    report.line(
      `beam ${width}: corpus BLEU-4 ${
        (100 * bleu).toFixed(2)
      } on ${found.length} held-out sentences`,
    );
  }
  for (
    const [name, pairs] of [["held out", corpus.validation], ["trained on", corpus.train]] as const
  ) {
    report.line(`sentences ${name}:`);
    const some = someSentences(pairs, options.samples);
    report.samples(name, step, await compareAll(interpreter, some));
  }
  const [{ source }] = sentences.toSorted((a, b) => b.source.length - a.source.length);
  const [translation] = await interpreter.translate([source], 3);
  const layers = [...(await readAttention(interpreter, source, translation)).values()];
  for (
    const [name, pattern] of [
      ["encoder", /^encoder/],
      ["decoder", /^decoder.*self_attn/],
      ["cross", /cross_attn/],
    ] as const
  ) {
    const path = await report.drawAttention(
      name,
      layers.filter((layer) => pattern.test(layer.name)),
      `${source} → ${translation}`,
      step,
    );
    report.line(`attention of the ${name === "cross" ? "decoder to the encoder" : name}: ${path}`);
  }
  report.line(`curves: ${await report.drawCurves("English to French")}`);
}
