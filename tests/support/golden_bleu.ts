/**
 * BLEU against golden values.
 *
 * @module
 */
import { halvingWeights, sentenceBleu } from "../../src/eval/bleu.ts";
import { Comparison, manifest } from "./golden.ts";

/** Every pair of `bleu.json`: the field's BLEU-4, the project's, and the project's as its log prints it. */
export async function compareBleu(): Promise<void> {
  const comparison = new Comparison("bleu", "any");
  const weights = halvingWeights();
  for (const pair of manifest("bleu").pairs) {
    const { reference, hypothesis } = pair;
    await comparison.run(JSON.stringify(hypothesis), () => {
      for (
        const [name, found] of Object.entries({
          bleu4_standard: sentenceBleu(reference, hypothesis),
          bleu_project: sentenceBleu(reference, hypothesis, { weights }),
          bleu_project_swapped: sentenceBleu(hypothesis, reference, { weights }),
        })
      ) comparison.values(`${name} of ${hypothesis}`, [found], [pair[name]], 1e-6);
      if (pair.printed_by_project !== undefined) {
        const printed = sentenceBleu(hypothesis, reference, { weights }).toFixed(3);
        if (printed !== pair.printed_by_project) {
          throw new Error(`printed ${printed}, expected ${pair.printed_by_project}`);
        }
      }
    });
  }
  comparison.finish();
}
