/**
 * Proof: every model learns, on the CPU device, in less than an hour on two cores.
 *
 *     deno task train:proof [--data ../shared/data/shakespeare.txt] [--pairs ../shared/data/fra.txt] [--out <folder>]
 *
 * The five language models train as `examples/next_token_byte_pair.ts --preset tiny` does, without BLAS, and have to
 * end at least one nat below the unigram entropy of the text; the translator trains as `train_translator.ts` says.
 * Prints a table and writes it with the pictures into `pictures/` of the folder (default: a new one in `runs/`). Exits
 * 1 where a bar is missed.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { join } from "node:path";
import type { Result } from "../../examples/next_token_byte_pair/report.ts";
import { TITLES } from "../../examples/next_token_byte_pair/models.ts";
import { newRunName, RUNS } from "../../src/cli/runs.ts";
import { curvesSvg, formatDuration, formatTable } from "../../mod.ts";
import { trainTranslators, type TranslatorFigures } from "./train_translator.ts";

/** Nats below the unigram entropy that a language model has to come. */
const MARGIN = 1;
/** The share of words that the translator has to have right, of those that can be right. */
const ACCURACY = 0.95;
/** Sentences, of 50, that the translator has to translate as one of their references. */
const TRANSLATED = 26;
const SECONDS = 3600;

/** One line of the table. */
interface Row {
  model: string;
  what: string;
  bar: string;
  reached: string;
  ok: boolean;
}

const { values: options } = parseArgs({
  options: {
    data: { type: "string", default: "../shared/data/shakespeare.txt" },
    pairs: { type: "string", default: "../shared/data/fra.txt" },
    out: { type: "string", default: `${RUNS}/${newRunName("proof")}` },
  },
});
const pictures = join(options.out, "pictures");
await Deno.mkdir(pictures, { recursive: true });
const started = performance.now();
const rows = [...await languageModels(), ...await translators()];
const seconds = (performance.now() - started) / 1000;
rows.push({
  model: "all",
  what: "time",
  bar: `at most ${formatDuration(SECONDS)}`,
  reached: formatDuration(seconds),
  ok: seconds <= SECONDS,
});
const table = formatTable(
  rows.map((row) => ({ ...row, ok: row.ok ? "yes" : "NO" })),
  ["model", "what", "bar", "reached", "ok"].map((key) => ({ key })),
);
await Deno.writeTextFile(join(pictures, "table.md"), table + "\n");
console.log(`\n${table}\n\nPictures and this table: ${pictures}`);
if (rows.some(({ ok }) => !ok)) Deno.exit(1);

/** Runs the example; without the permission for foreign functions it has no BLAS. */
async function languageModels(): Promise<Row[]> {
  const folder = join(options.out, "next_token");
  const example = new URL("../../examples/next_token_byte_pair.ts", import.meta.url);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", `--allow-read=${options.data},${folder}`],
      ...[`--allow-write=${folder}`, example.pathname],
      ...["--preset", "tiny", "--device", "cpu", "--data", options.data, "--out", folder],
    ],
  }).spawn().status;
  if (!success) throw new Error("The language models did not train to the end");
  const { unigramEntropy, results }: { unigramEntropy: number; results: Result[] } = JSON.parse(
    await Deno.readTextFile(join(folder, "results.json")),
  );
  await Deno.copyFile(join(folder, "curves.svg"), join(pictures, "curves.svg"));
  await Deno.copyFile(join(folder, "table.md"), join(pictures, "next_token.md"));
  for (const { model } of results) {
    const picture = join(folder, model, "attention", "epoch_003.svg");
    await Deno.copyFile(picture, join(pictures, `attention_${model}.svg`));
  }
  return results.map(({ model, epochs }) => {
    const best = Math.min(...epochs.map(({ validation }) => validation.loss));
    const most = unigramEntropy - MARGIN;
    return {
      model: TITLES[model],
      what: "best validation loss",
      bar: `at most ${most.toFixed(3)}, ${MARGIN} nat below the unigram entropy`,
      reached: `${best.toFixed(3)}, ${(unigramEntropy - best).toFixed(3)} below`,
      ok: best <= most,
    };
  });
}

async function translators(): Promise<Row[]> {
  const figures = await trainTranslators(options.pairs);
  await Deno.writeTextFile(
    join(pictures, "translator.svg"),
    await curvesSvg({
      title: "The translator learns its pairs by heart",
      xLabel: "epoch",
      panels: [{
        yLabel: "training loss (nats per word)",
        series: figures.map(({ data, losses }) => ({
          name: data,
          steps: losses.map((_, i) => i + 1),
          values: losses,
        })),
      }],
    }),
  );
  return figures.flatMap(rowsOf);
}

function rowsOf({ data, accuracy, ceiling, greedy, beam }: TranslatorFigures): Row[] {
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
  const model = `Transformer, ${data}`;
  const possible = ceiling === 1 ? "" : ` of the ${percent(ceiling)} that are possible`;
  return [{
    model,
    what: "teacher-forced training accuracy",
    bar: `at least ${percent(ACCURACY)}${possible}`,
    reached: percent(accuracy) + (possible && `, ${percent(accuracy / ceiling)}${possible}`),
    ok: accuracy >= ACCURACY * ceiling,
  }, {
    model,
    what: "training sentences translated as a reference",
    bar: `at least ${TRANSLATED} of 50`,
    reached: `${greedy} greedy, ${beam} by a beam of 3`,
    ok: greedy >= TRANSLATED,
  }];
}
