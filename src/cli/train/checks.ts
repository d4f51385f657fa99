/** What is looked at between steps: the validation loss, HellaSwag, samples, attention, the norm of the weights. */
import {
  type BatchLoader,
  type Communicator,
  continuationText,
  evaluateHellaSwag,
  generate,
  type HellaSwagItem,
  loadHellaSwag,
  openProgress,
  RandomState,
  readSelfAttention,
  type Tokenizer,
  validationLoss,
  weightNorm,
} from "../../../mod.ts";
import type { Options } from "./options.ts";
import type { Report } from "./report.ts";
import type { Task } from "./task.ts";

/** The validation gave NaN: an update has ruined the weights, and they are not to be saved. */
export class WeightsLostError extends Error {
  override readonly name = "WeightsLostError";
}

/** Whether a step is followed by validation, samples and a checkpoint: 1, 2, 5, 10, 50, 100, every N, and the last. */
export function isMilestone(
  step: number,
  { steps, every }: Pick<Options, "steps" | "every">,
): boolean {
  return [1, 2, 5, 10, 50, 100, steps].includes(step) || step % every === 0;
}

/** The options that {@linkcode Checks} goes by. */
export type CheckOptions =
  & Pick<Options, "hellaswag" | "hellaswagEvery" | "steps" | "samples" | "sampleLength">
  & Pick<Options, "seed" | "topK" | "temperature">;

/** What {@linkcode Checks} looks at. */
export interface ChecksSetup {
  readonly task: Task;
  readonly tokenizer: Tokenizer;
  readonly options: CheckOptions;
  readonly report: Report;
  /** The ranks that train together. */
  readonly communicator: Communicator;
  /** The data to validate on, which is closed with the checks, and how many rows of it. */
  readonly validation: { readonly loader: BatchLoader; readonly rows: number };
  /** What samples continue, and the ids after which they end. */
  readonly prompt: { readonly ids: ArrayLike<number>; readonly text: string };
  readonly stopIds?: readonly number[];
  /** Whether there are samples before the first step, too. */
  readonly samplesFirst?: boolean;
}

/** Looks at a model, and reports what it finds. A signal ends that with the signal's reason. */
export class Checks implements AsyncDisposable {
  readonly #setup: ChecksSetup;
  readonly #items: HellaSwagItem[] | undefined;

  private constructor(setup: ChecksSetup, items: HellaSwagItem[] | undefined) {
    this.#setup = setup;
    this.#items = items;
  }

  /** Reads HellaSwag where it is asked for. */
  static async open(setup: ChecksSetup): Promise<Checks> {
    const { hellaswag } = setup.options;
    const items = hellaswag === undefined
      ? undefined
      : await loadHellaSwag(hellaswag === true ? {} : { path: hellaswag });
    return new Checks(setup, items);
  }

  /** What is due before the first step. */
  async begin(signal: AbortSignal): Promise<void> {
    await this.validate(0, signal);
    if (this.#setup.samplesFirst) await this.#sample(0, signal);
  }

  /** Whether HellaSwag is to be scored after a step. */
  isDue(step: number): boolean {
    const { steps, hellaswagEvery } = this.#setup.options;
    return this.#items !== undefined && (step % hellaswagEvery === 0 || step === steps);
  }

  /** All that is due after a step, but for saving. */
  async after(step: number, isMilestone: boolean, signal: AbortSignal): Promise<void> {
    const { task, report, communicator } = this.#setup;
    if (this.isDue(step)) await this.#scoreHellaSwag(this.#items!, step, signal);
    if (!isMilestone) return;
    await this.validate(step, signal);
    if (communicator.rank > 0) return;
    using norm = weightNorm(task.trained.parameters());
    report.weightNorm(step, await norm.item());
    await this.#sample(step, signal);
    await report.draw();
  }

  /** The validation loss. Throws a {@linkcode WeightsLostError} where it is not a finite number. */
  async validate(step: number, signal: AbortSignal): Promise<void> {
    const { task, report, communicator, validation: { loader, rows } } = this.#setup;
    const { device } = task.model;
    const loss = await validationLoss(task, loader, rows, device, {
      ...{ signal, communicator },
      count: task.count?.bind(task),
    });
    report.validation(step, loss);
    if (!Number.isFinite(loss)) {
      throw new WeightsLostError(`the weights are lost after step ${step}: lower --lr or --clip`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#setup.validation.loader.close();
  }

  async #scoreHellaSwag(items: HellaSwagItem[], step: number, signal: AbortSignal): Promise<void> {
    const { task, tokenizer, report, communicator } = this.#setup;
    const total = items.length;
    using progress = communicator.rank > 0
      ? undefined
      : await openProgress({ label: "HellaSwag", total, unit: "items" });
    const score = await evaluateHellaSwag(task.model, tokenizer, items, {
      ...{ signal, communicator },
      onProgress: ({ items }, of) => progress?.update(Math.round(items * total / of)),
    });
    report.hellaSwag(step, score);
  }

  /** Draws samples, and looks where the attention looks on the prompt with the first of them. */
  async #sample(step: number, signal: AbortSignal): Promise<void> {
    const { task: { model }, tokenizer, report, prompt, stopIds } = this.#setup;
    const { samples, sampleLength: length, seed, topK, temperature } = this.#setup.options;
    if (samples === 0) return;
    const rows = await generate(model, [prompt.ids], {
      ...{ length, samples, signal, topK: Math.min(topK, tokenizer.vocabSize), temperature },
      stopIds: stopIds ?? [],
      overflow: "slide",
      vocabSize: tokenizer.vocabSize,
      random: new RandomState(seed + step),
    });
    for (const { ids } of rows) report.sample(step, continuationText(tokenizer, ids), prompt.text);
    const read = [...Array.from(prompt.ids), ...rows[0]!.ids]
      .slice(0, model.config.maxPositionEmbeddings);
    await report.attention(step, await readSelfAttention(model, tokenizer, read));
  }
}
