/** What `next_token_byte_pair.ts` writes while it runs: the log, TensorBoard's events, pictures, the table. */
import {
  type AttentionLayer,
  attentionPicture,
  attentionPng,
  curvesSvg,
  EventFile,
  formatDuration,
  formatRate,
  formatTable,
  perplexity,
  type TextLog,
  TimeLeft,
} from "../../mod.ts";
import type { Sample } from "./look.ts";
import { type ModelName, TITLES } from "./models.ts";

/** Mean loss per token in nats, and the fraction of tokens for which the highest score was right. */
export interface Score {
  loss: number;
  accuracy: number;
}

/** The figures of an epoch. */
export interface Epoch {
  train: Score;
  validation: Score;
  lr: number;
  /** Tokens trained on per second. */
  tokensPerSecond: number;
}

/** The results of a model; a finished one has all epochs. */
export interface Result {
  model: ModelName;
  parameters: number;
  epochs: Epoch[];
  /** Time spent on training and validation, including that of earlier starts. */
  seconds: number;
}

/** The logs of one model: lines in the run's log, and a folder for TensorBoard and pictures. */
export class Report implements Disposable {
  readonly #name: ModelName;
  readonly #folder: string;
  readonly #log: TextLog;
  readonly #events: EventFile;
  /** Of the last epochs, in epochs. */
  readonly #timeLeft: TimeLeft;

  private constructor(
    name: ModelName,
    folder: string,
    log: TextLog,
    events: EventFile,
    timeLeft: TimeLeft,
  ) {
    this.#name = name;
    this.#folder = folder;
    this.#log = log;
    this.#events = events;
    this.#timeLeft = timeLeft;
  }

  /**
   * Opens TensorBoard's file in the model's folder; that of a resumed run continues at `step`. An epoch has `batches`
   * steps.
   */
  static async open(
    name: ModelName,
    folder: string,
    log: TextLog,
    step: number,
    batches: number,
  ): Promise<Report> {
    const events = await EventFile.open(folder, { resumeStep: step > 0 ? step + 1 : 0 });
    await Deno.mkdir(`${folder}/attention`, { recursive: true });
    return new Report(name, folder, log, events, new TimeLeft(step / batches, 5));
  }

  /** A line for the log. */
  line(text: string): void {
    this.#log.line(text);
  }

  /** Logs the first line about a model. */
  begin(step: number, steps: number, { parameters, epochs }: Result): void {
    const count = (n: number) => n.toLocaleString("en");
    const where = step === 0
      ? `${count(steps)} steps`
      : step < steps
      ? `resuming after step ${count(step)} of ${count(steps)}`
      : `done, best validation loss ${epochs[bestEpoch(epochs)]!.validation.loss.toFixed(4)}`;
    this.line(`\n${TITLES[this.#name]}, ${count(parameters)} parameters: ${where}`);
  }

  /** Logs a step of training. */
  step(step: number, values: { loss: number; gradNorm: number; lr: number }): void {
    const { loss, gradNorm, lr } = values;
    this.#events.scalars({ "step/loss": loss, "step/grad_norm": gradNorm, "step/lr": lr }, step);
  }

  /** Logs the end of an epoch, with the norm of the weights. */
  epoch(step: number, epochs: number, result: Result, weightNorm: number): void {
    const done = result.epochs.length;
    const { train, validation, lr, tokensPerSecond } = result.epochs[done - 1]!;
    this.#events.scalars({
      "loss/train": train.loss,
      "loss/validation": validation.loss,
      "accuracy/train": train.accuracy,
      "accuracy/validation": validation.accuracy,
      "tokens_per_second": tokensPerSecond,
      "weight_norm": weightNorm,
    }, step);
    this.line(
      `${TITLES[this.#name]} epoch ${String(done).padStart(String(epochs).length)}/${epochs} | ` +
        `lr ${formatRate(lr)} | train ${shown(train)} | validation ${shown(validation)} | ` +
        `${Math.round(tokensPerSecond).toLocaleString("en")} tokens/s | ` +
        `${formatDuration(this.#timeLeft.after(done, epochs))} left`,
    );
  }

  /** Logs histograms of weights and gradients by parameter name. */
  histograms(step: number, values: Record<string, Float32Array>): void {
    this.#events.histograms(values, step);
  }

  /** Logs a text that the model wrote. */
  sample(step: number, { after, text }: Sample): void {
    this.line(`--- ${TITLES[this.#name]} ${after}:\n${text}\n`);
    this.#events.lines(`samples, ${after}`, text, step);
  }

  /** Draws the attention of every head of every layer to a file named by `name`, or by the epoch. Returns its path. */
  async attention(
    step: number,
    epoch: number,
    layers: AttentionLayer[],
    name?: string,
  ): Promise<string> {
    this.#events.image(name ?? "attention", await attentionPng(layers), step);
    const file = name?.replaceAll(" ", "_") ?? `epoch_${String(epoch).padStart(3, "0")}`;
    const path = `${this.#folder}/attention/${file}.svg`;
    const title = `${TITLES[this.#name]}, epoch ${epoch}: ${name ?? "attention"}`;
    await Deno.writeTextFile(path, await attentionPicture(layers, { title }));
    return path;
  }

  [Symbol.dispose](): void {
    this.#events.close();
  }
}

/** Compares the models in `curves.svg`, `results.json` and `table.md`, whose text is returned. */
export async function compare(
  folder: string,
  unigramEntropy: number,
  results: Result[],
): Promise<string> {
  const series = (of: keyof Score) =>
    results.flatMap(({ model, epochs }) =>
      (["train", "validation"] as const).map((kind) => ({
        name: TITLES[model],
        steps: epochs.map((_, i) => i + 1),
        values: epochs.map((epoch) => epoch[kind][of]),
        kind,
      }))
    );
  const curves = await curvesSvg({
    title: "Training and validation by epoch",
    xLabel: "epoch",
    panels: [
      { yLabel: "loss (nats per token)", series: series("loss") },
      { yLabel: "accuracy", series: series("accuracy"), format: ".0%" },
    ],
  });
  const text = table(results);
  const json = JSON.stringify({ unigramEntropy, results }, null, 2);
  await Deno.writeTextFile(`${folder}/curves.svg`, curves);
  await Deno.writeTextFile(`${folder}/results.json`, json + "\n");
  await Deno.writeTextFile(`${folder}/table.md`, text + "\n");
  return text;
}

function table(results: Result[]): string {
  const rows = results.map(({ model, parameters, epochs, seconds }) => {
    const last = epochs.at(-1)!;
    const best = bestEpoch(epochs);
    const speeds = epochs.map((epoch) => epoch.tokensPerSecond).toSorted((a, b) => a - b);
    return {
      model: TITLES[model],
      parameters: parameters.toLocaleString("en"),
      trainLoss: last.train.loss,
      trainAccuracy: 100 * last.train.accuracy,
      validationLoss: last.validation.loss,
      validationAccuracy: 100 * last.validation.accuracy,
      bestLoss: epochs[best]!.validation.loss,
      bestEpoch: best + 1,
      perplexity: perplexity(epochs[best]!.validation.loss),
      speed: speeds[speeds.length >> 1],
      time: formatDuration(seconds),
    };
  });
  return formatTable(rows, [
    { key: "model" },
    { key: "parameters" },
    { key: "trainLoss", title: "train loss", digits: 3 },
    { key: "trainAccuracy", title: "accuracy %", digits: 1 },
    { key: "validationLoss", title: "validation loss", digits: 3 },
    { key: "validationAccuracy", title: "accuracy %", digits: 1 },
    { key: "bestLoss", title: "best validation loss", digits: 3 },
    { key: "bestEpoch", title: "best epoch", digits: 0 },
    { key: "perplexity", title: "best perplexity", digits: 1 },
    { key: "speed", title: "tokens/s", digits: 0 },
    { key: "time" },
  ]);
}

/** The index of the epoch with the lowest validation loss. */
export function bestEpoch(epochs: Epoch[]): number {
  const losses = epochs.map(({ validation }) => validation.loss);
  return losses.indexOf(Math.min(...losses));
}

function shown({ loss, accuracy }: Score): string {
  return `loss ${loss.toFixed(4)}, accuracy ${percent(accuracy)}`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`;
}
