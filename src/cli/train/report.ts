/** What a run writes while it trains: the log, TensorBoard's events, the picture of the losses. */
import {
  type AttentionLayer,
  attentionPicture,
  attentionPng,
  type Checkpoint,
  curvesSvg,
  EventFile,
  formatDuration,
  formatRate,
  formatSample,
  type HellaSwagScore,
  type StepVerdict,
  TextLog,
} from "../../../mod.ts";

/** The curves so far; a checkpoint keeps them, so that a resumed run draws them whole. */
export interface Curves {
  train: [step: number, loss: number][];
  validation: [step: number, loss: number][];
}

/** What a schedule says of a step. */
export interface StepPlan {
  /** The learning rate. */
  readonly lr: number;
  /** Sequences of all ranks. */
  readonly sequences: number;
}

/** What became of a step. */
export interface StepOutcome {
  /** Its number, from 1. */
  readonly step: number;
  /** Its learning rate and size. */
  readonly plan: StepPlan;
  readonly loss: number;
  readonly gradNorm: number;
  readonly verdict: StepVerdict;
}

/** What is told of a step beside its outcome. */
export interface StepTimes {
  /** That the step took, and that the rest of the run will take. */
  readonly seconds: number;
  readonly left: number;
}

/** The three logs of a run in one folder. */
export class Report implements Disposable {
  /** Path of the folder. */
  readonly folder: string;
  readonly #title: string;
  readonly #log: TextLog | undefined;
  readonly #events: EventFile | undefined;
  readonly #curves: Curves;

  private constructor(
    folder: string,
    title: string,
    log: TextLog | undefined,
    events: EventFile | undefined,
    curves: Curves,
  ) {
    this.folder = folder;
    this.#title = title;
    this.#log = log;
    this.#events = events;
    this.#curves = curves;
  }

  /** Opens the logs; those of a resumed run go on at `step`. Pictures are headed by `title`. */
  static async open(
    folder: string,
    title: string,
    step: number,
    curves: Curves = { train: [], validation: [] },
  ): Promise<Report> {
    const log = await TextLog.open(`${folder}/log.txt`, { echo: console.log });
    const events = await EventFile.open(folder, { resumeStep: step > 0 ? step + 1 : 0 });
    await Deno.mkdir(`${folder}/attention`, { recursive: true });
    return new Report(folder, title, log, events, curves);
  }

  /** One that writes nothing, for ranks other than the first. */
  static silent(folder: string): Report {
    return new Report(folder, "", undefined, undefined, { train: [], validation: [] });
  }

  /** The points drawn so far. */
  get curves(): Curves {
    return this.#curves;
  }

  /** A line for people. */
  line(text: string): void {
    this.#log?.line(text);
  }

  /** The first lines of a run: those that say what it is, and the checkpoint that it goes on from. */
  begin(lines: readonly string[], from: Checkpoint | undefined): void {
    lines.forEach((line) => this.line(line));
    this.line(
      from ? `resuming after step ${from.step} from ${from.path}` : `writing to ${this.folder}`,
    );
  }

  /** One step of training. */
  step(
    { steps, context }: { readonly steps: number; readonly context: number },
    { step, plan: { lr, sequences }, loss, gradNorm, verdict }: StepOutcome,
    { seconds, left }: StepTimes,
  ): void {
    const tokensPerSecond = sequences * context / seconds;
    if (Number.isFinite(loss)) this.#curves.train.push([step, loss]);
    this.#events?.scalars({
      "loss/train": loss,
      "grad_norm": gradNorm,
      "lr": lr,
      "tokens_per_second": tokensPerSecond,
    }, step);
    this.line(
      `step ${String(step).padStart(String(steps).length)}/${steps} | ` +
        `lr ${formatRate(lr)} | grad_norm ${gradNorm.toFixed(4)} | loss ${loss.toFixed(6)} | ` +
        `${Math.round(tokensPerSecond).toLocaleString("en")} tokens/s | ` +
        `${formatDuration(seconds)} | ${formatDuration(left)} left` +
        // With a loss scale, a norm that overflows is how the scale is found.
        (verdict.action === "apply" && !Number.isFinite(gradNorm)
          ? " | gradient overflow: step skipped"
          : "") +
        (verdict.warning ? ` | ${verdict.warning}` : "") +
        (verdict.action === "skip" ? ": step skipped" : ""),
    );
  }

  /** A validation. */
  validation(step: number, loss: number): void {
    this.#curves.validation.push([step, loss]);
    this.#events?.scalar("loss/validation", loss, step);
    this.line(`validation loss ${loss.toFixed(4)} after ${step} steps`);
  }

  /** A score of HellaSwag. */
  hellaSwag(step: number, { items, accNorm }: HellaSwagScore): void {
    this.#events?.scalar("hellaswag/acc_norm", accNorm, step);
    const right = Math.round(accNorm * items);
    this.line(`HellaSwag accuracy ${right}/${items} = ${accNorm.toFixed(4)} after ${step} steps`);
  }

  /** The global norm of the weights. */
  weightNorm(step: number, norm: number): void {
    this.#events?.scalar("weight_norm", norm, step);
  }

  /** Text that the model wrote after a prompt. */
  sample(step: number, text: string, prompt: string): void {
    const lines = formatSample(text, prompt);
    this.line(lines);
    this.#events?.lines("samples", lines, step);
  }

  /** Where every head of every layer looks; returns the file's path. */
  async attention(step: number, layers: AttentionLayer[]): Promise<string> {
    this.#events?.image("attention", await attentionPng(layers), step);
    const path = `${this.folder}/attention/step_${String(step).padStart(8, "0")}.svg`;
    const title = `${this.#title}: self-attention after step ${step}`;
    await Deno.writeTextFile(path, await attentionPicture(layers, { title }));
    return path;
  }

  /** Draws the loss curves; returns the file's path. */
  async draw(): Promise<string> {
    const { train, validation } = this.#curves;
    const series = (points: [number, number][]) => ({
      steps: points.map(([step]) => step),
      values: points.map(([, loss]) => loss),
    });
    const svg = await curvesSvg({
      title: this.#title,
      panels: [{
        yLabel: "loss",
        series: [
          { name: "train", ...series(train) },
          { name: "validation", ...series(validation), kind: "validation" },
        ],
      }],
    });
    const path = `${this.folder}/loss.svg`;
    await Deno.writeTextFile(path, svg);
    return path;
  }

  [Symbol.dispose](): void {
    this.#log?.close();
    this.#events?.close();
  }
}
