/** What `seq_to_seq_with_transformer.ts` writes while it runs: the log, TensorBoard's events, the pictures. */
import {
  type AttentionLayer,
  attentionPicture,
  attentionPng,
  curvesSvg,
  EventFile,
  type Json,
  lengthHistogramsSvg,
  perplexity,
  TextLog,
  type TextVocabulary,
  wordsOf,
} from "../../mod.ts";
import type { Corpus } from "./data.ts";
import type { Scores } from "./evaluate.ts";
import type { Options } from "./options.ts";

/** The figures of an epoch. */
export interface EpochFigures {
  train: Scores;
  /** Given if pairs are held out. */
  validation?: Scores;
}

/** The curves so far; a checkpoint keeps them, so that a resumed run draws all of them. */
export interface Curves {
  steps: [step: number, loss: number][];
  epochs: EpochFigures[];
}

/** The logs of a run in one folder. */
export class Report implements Disposable {
  readonly curves: Curves;
  readonly #folder: string;
  readonly #log: TextLog;
  readonly #events: EventFile;

  private constructor(folder: string, log: TextLog, events: EventFile, curves: Curves) {
    this.#folder = folder;
    this.#log = log;
    this.#events = events;
    this.curves = curves;
  }

  /** Opens the logs; those of a resumed run continue at `step`. */
  static async open(folder: string, step: number, curves: Curves): Promise<Report> {
    const log = await TextLog.open(`${folder}/log.txt`, { echo: console.log });
    const events = await EventFile.open(folder, { resumeStep: step > 0 ? step + 1 : 0 });
    await Deno.mkdir(`${folder}/attention`, { recursive: true });
    return new Report(folder, log, events, curves);
  }

  /** A line for the log. */
  line(text: string): void {
    this.#log.line(text);
  }

  /** Logs the size, the most common words and the unknown words of both vocabularies. */
  vocabularies({ source, target, validation }: Corpus): void {
    const describe = (name: string, vocabulary: TextVocabulary, held: string[]) => {
      const { size, words, distinctWords, mostCommon, unknownShare } = vocabulary.summary(8);
      const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
      this.line(
        `${name} vocabulary: ${size.toLocaleString("en")} tokens of ${
          distinctWords.toLocaleString("en")
        } different words in ${words.toLocaleString("en")}; unknown: ${percent(unknownShare)}` +
          (held.length ? `, ${percent(vocabulary.unknownShare(held))} of the validation` : ""),
      );
      const common = mostCommon.map(([word, count]) => `${word} (${count.toLocaleString("en")})`);
      this.line(`  most common: ${common.join("  ")}`);
    };
    describe("English", source, validation.map((pair) => pair.source));
    describe("French", target, validation.map((pair) => pair.target));
  }

  /** Logs a step of training. */
  step(step: number, values: { loss: number; gradNorm: number; lr: number }): void {
    this.curves.steps.push([step, values.loss]);
    this.#events.scalars({
      "loss/step": values.loss,
      "grad_norm": values.gradNorm,
      "lr": values.lr,
    }, step);
  }

  /** Logs the end of an epoch, with the norm of the weights. */
  epoch(epoch: number, epochs: number, step: number, figures: EpochFigures, norm: number): void {
    this.curves.epochs.push(figures);
    const parts = Object.entries(figures).map(([kind, { loss, accuracy }]: [string, Scores]) => {
      this.#events.scalars({
        [`loss/${kind}`]: loss,
        [`perplexity/${kind}`]: perplexity(loss),
        [`accuracy/${kind}`]: accuracy,
      }, step);
      return `${kind} loss ${loss.toFixed(4)}, accuracy ${(100 * accuracy).toFixed(1)}%`;
    });
    this.#events.scalar("weight_norm", norm, step);
    const count = `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`;
    this.line([count, ...parts].join(" | "));
  }

  /** Logs histograms of weights and, if given, gradients by parameter name. */
  histograms(step: number, values: Record<string, Float32Array>): void {
    this.#events.histograms(values, step);
  }

  /** Logs BLEU on the held-out sentences. */
  bleu(width: number, bleu: number, step: number): void {
    this.#events.scalar(`bleu/beam_${width}`, bleu, step);
  }

  /** Logs some translated sentences, several lines each. */
  samples(name: string, step: number, sentences: string[][]): void {
    const text = sentences.map((lines) => lines.join("\n"));
    this.line(text.join(`\n${"-".repeat(42)}\n`));
    this.#events.lines(`samples, ${name}`, text.join("\n\n"), step);
  }

  /** Draws the lengths of the sentences; returns the path of the picture. */
  async drawLengths({ pairs }: Corpus, options: Options): Promise<string> {
    return await this.#save(
      "lengths.svg",
      await lengthHistogramsSvg({
        title: "How long the sentences are, <EOS> included",
        xLabel: "words",
        panels: [
          {
            name: "English",
            lengths: pairs.map((pair) => wordsOf(pair.source).length + 1),
            limit: options.sourceLength,
          },
          {
            name: "French",
            lengths: pairs.map((pair) => wordsOf(pair.target).length + 1),
            limit: options.targetLength,
          },
        ],
      }),
    );
  }

  /** Draws loss and accuracy over the epochs; returns the path of the picture. */
  async drawCurves(title: string): Promise<string> {
    const { epochs } = this.curves;
    const series = (key: keyof Scores) =>
      (["train", "validation"] as const).filter((kind) => epochs[0]![kind]).map((kind) => ({
        name: "Transformer",
        kind,
        steps: epochs.map((_, i) => i + 1),
        values: epochs.map((each) => each[kind]![key]),
      }));
    return await this.#save(
      "curves.svg",
      await curvesSvg({
        title,
        xLabel: "epoch",
        panels: [
          { yLabel: "loss (nats a word)", series: series("loss") },
          { yLabel: "accuracy", series: series("accuracy"), format: ".0%" },
        ],
      }),
    );
  }

  /** Draws the attention of all heads of some layers for one sentence to `attention/<file>.svg`; returns the path. */
  async drawAttention(
    { tag, file = tag, title }: { tag: string; file?: string | undefined; title: string },
    layers: AttentionLayer[],
    step: number,
  ): Promise<string> {
    this.#events.image(`attention/${tag}`, await attentionPng(layers), step);
    return await this.#save(`attention/${file}.svg`, await attentionPicture(layers, { title }));
  }

  /** The state that a checkpoint keeps: the curves, as JSON. */
  state(): Json {
    return structuredClone(this.curves) as unknown as Json;
  }

  async #save(name: string, svg: string): Promise<string> {
    const path = `${this.#folder}/${name}`;
    await Deno.writeTextFile(path, svg);
    return path;
  }

  [Symbol.dispose](): void {
    this.#log.close();
    this.#events.close();
  }
}
