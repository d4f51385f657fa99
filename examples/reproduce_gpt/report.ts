/** What `reproduce_gpt.ts` writes while it runs: the log, TensorBoard's events, the picture of the losses. */
import { curvesSvg, EventFile, formatDuration, type HellaSwagScore, TextLog } from "../../mod.ts";

/** The curves so far; a checkpoint keeps them, so that a resumed run draws them whole. */
export interface Curves {
  train: [step: number, loss: number][];
  validation: [step: number, loss: number][];
}

/** What is told of a step. */
export interface StepValues {
  readonly loss: number;
  readonly gradNorm: number;
  readonly lr: number;
  readonly tokensPerSecond: number;
  /** That it took, and that the run will take. */
  readonly seconds: number;
  readonly left: number;
  /** What else there is to say. */
  readonly note: string;
}

/** The three logs of a run in one folder. */
export class Report implements Disposable {
  readonly #folder: string;
  readonly #log: TextLog;
  readonly #events: EventFile;
  readonly #curves: Curves;

  private constructor(folder: string, log: TextLog, events: EventFile, curves: Curves) {
    this.#folder = folder;
    this.#log = log;
    this.#events = events;
    this.#curves = curves;
  }

  /** Opens the logs; those of a resumed run go on at `step`. */
  static async open(folder: string, step: number, curves: Curves): Promise<Report> {
    const log = await TextLog.open(`${folder}/log.txt`, { echo: console.log });
    const events = await EventFile.open(folder, step > 0 ? { resumeStep: step + 1 } : {});
    return new Report(folder, log, events, curves);
  }

  /** The points drawn so far. */
  get curves(): Curves {
    return this.#curves;
  }

  /** A line for people. */
  line(text: string): void {
    this.#log.line(text);
  }

  /** One step of training of so many. */
  step(step: number, steps: number, values: StepValues): void {
    if (Number.isFinite(values.loss)) this.#curves.train.push([step, values.loss]);
    this.#events.scalars({
      "loss/train": values.loss,
      "grad_norm": values.gradNorm,
      "lr": values.lr,
      "tokens_per_second": values.tokensPerSecond,
    }, step);
    this.line(
      `step ${String(step).padStart(String(steps).length)}/${steps} | ` +
        `lr ${printed(values.lr)} | grad_norm ${values.gradNorm.toFixed(4)} | ` +
        `loss ${values.loss.toFixed(4)} | ` +
        `${Math.round(values.tokensPerSecond).toLocaleString("en")} tokens/s | ` +
        `${formatDuration(values.seconds)} | ${formatDuration(values.left)} left${values.note}`,
    );
  }

  /** A validation. */
  validation(step: number, loss: number): void {
    this.#curves.validation.push([step, loss]);
    this.#events.scalar("loss/validation", loss, step);
  }

  /** A score of HellaSwag. */
  hellaSwag(step: number, { items, accNorm }: HellaSwagScore): void {
    this.#events.scalar("hellaswag/acc_norm", accNorm, step);
    const right = Math.round(accNorm * items);
    this.line(`HellaSwag accuracy ${right}/${items} = ${accNorm.toFixed(4)} after ${step} steps`);
  }

  /** Text that the model wrote. */
  sample(step: number, text: string): void {
    this.line(`  > ${text.replaceAll(/\s+/g, " ").trim()}`);
    this.#events.text("samples", text, step);
  }

  /** Draws the loss curves; returns the file's path. */
  async draw(title: string): Promise<string> {
    const { train, validation } = this.#curves;
    const series = (points: [number, number][]) => ({
      steps: points.map(([step]) => step),
      values: points.map(([, loss]) => loss),
    });
    const svg = await curvesSvg({
      title,
      panels: [{
        yLabel: "loss",
        series: [
          { name: "train", ...series(train) },
          { name: "validation", ...series(validation), kind: "validation" },
        ],
      }],
    });
    const path = `${this.#folder}/loss.svg`;
    await Deno.writeTextFile(path, svg);
    return path;
  }

  [Symbol.dispose](): void {
    this.#log.close();
    this.#events.close();
  }
}

/** As C prints with %.5e. */
function printed(lr: number): string {
  return lr.toExponential(5).replace(/e([+-])(\d)$/, "e$10$2");
}
