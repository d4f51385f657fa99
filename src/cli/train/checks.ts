/** What is looked at between steps: the validation loss, HellaSwag, samples, attention, the norm of the weights. */
import {
  evaluateHellaSwag,
  generate,
  type GPT2Tokenizer,
  type HellaSwagItem,
  loadHellaSwag,
  openProgress,
  RandomState,
  readSelfAttention,
  TokenLoader,
  validationLoss,
  weightNorm,
} from "../../../mod.ts";
import type { Corpus } from "./corpus.ts";
import type { TrainedModel } from "./model.ts";
import type { Options } from "./options.ts";
import type { Report } from "./report.ts";

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

/** Sequences of a batch, at most `most` and each batch as large, and batches of a validation of `tokens` tokens. */
export function validationBatches(
  tokens: number,
  contextSize: number,
  most: number,
): { batchSize: number; batches: number } {
  const sequences = Math.ceil(tokens / contextSize);
  let batchSize = Math.min(most, sequences);
  while (sequences % batchSize !== 0) batchSize--;
  return { batchSize, batches: sequences / batchSize };
}

/** Looks at a model, and reports what it finds. A signal ends that with the signal's reason. */
export class Checks implements AsyncDisposable {
  readonly #model: TrainedModel;
  readonly #tokenizer: GPT2Tokenizer;
  readonly #options: Options;
  readonly #report: Report;
  readonly #loader: TokenLoader;
  readonly #batches: number;
  readonly #items: HellaSwagItem[] | undefined;

  private constructor(
    model: TrainedModel,
    tokenizer: GPT2Tokenizer,
    options: Options,
    report: Report,
    { loader, batches }: { loader: TokenLoader; batches: number },
    items: HellaSwagItem[] | undefined,
  ) {
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#report = report;
    this.#loader = loader;
    this.#batches = batches;
    this.#items = items;
  }

  /** Opens the data to validate on. */
  static async open(
    model: TrainedModel,
    tokenizer: GPT2Tokenizer,
    options: Options,
    report: Report,
    { data, batch }: { data: Corpus["validation"]; batch: number },
  ): Promise<Checks> {
    const { hellaswag } = options;
    const items = hellaswag === undefined
      ? undefined
      : await loadHellaSwag(hellaswag === true ? {} : { path: hellaswag });
    const { maxPositionEmbeddings: contextSize, vocabSize } = model.config;
    const { batchSize, batches } = validationBatches(options.valTokens, contextSize, batch);
    const loader = await TokenLoader.open(data, { batchSize, contextSize, vocabSize });
    return new Checks(model, tokenizer, options, report, { loader, batches }, items);
  }

  /** Whether HellaSwag is to be scored after a step. */
  isDue(step: number): boolean {
    const { steps, hellaswagEvery } = this.#options;
    return this.#items !== undefined && (step % hellaswagEvery === 0 || step === steps);
  }

  /** All that is due after a step, but for saving. */
  async after(step: number, signal: AbortSignal): Promise<void> {
    if (this.isDue(step)) await this.#scoreHellaSwag(this.#items!, step, signal);
    if (!isMilestone(step, this.#options)) return;
    await this.validate(step, signal);
    using norm = weightNorm(this.#model.parameters());
    this.#report.weightNorm(step, await norm.item());
    await this.#sample(step, signal);
    await this.#report.draw();
  }

  /** The validation loss. Throws a {@linkcode WeightsLostError} where it is not a finite number. */
  async validate(step: number, signal: AbortSignal): Promise<void> {
    const { device } = this.#model;
    const loss = await validationLoss(this.#model, this.#loader, this.#batches, device, { signal });
    this.#report.validation(step, loss);
    if (!Number.isFinite(loss)) {
      throw new WeightsLostError(`the weights are lost after step ${step}: lower --lr or --clip`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loader.close();
  }

  async #scoreHellaSwag(items: HellaSwagItem[], step: number, signal: AbortSignal): Promise<void> {
    using progress = await openProgress({ label: "HellaSwag", total: items.length, unit: "items" });
    const score = await evaluateHellaSwag(this.#model, this.#tokenizer, items, {
      signal,
      onProgress: ({ items }) => progress.update(items),
    });
    this.#report.hellaSwag(step, score);
  }

  /** Draws samples, and looks where the attention looks on the prompt with the first of them. */
  async #sample(step: number, signal: AbortSignal): Promise<void> {
    const { samples, prompt, sampleLength: length, seed, topK, temperature } = this.#options;
    if (samples === 0) return;
    const start = this.#tokenizer.encodeOrdinary(prompt);
    const rows = await generate(this.#model, [start], {
      ...{ length, samples, signal, topK, temperature },
      overflow: "slide",
      vocabSize: this.#tokenizer.vocabSize,
      random: new RandomState(seed + step),
    });
    for (const { ids } of rows) this.#report.sample(step, this.#tokenizer.decode(ids), prompt);
    const read = [...start, ...rows[0].ids].slice(0, this.#model.config.maxPositionEmbeddings);
    await this.#report.attention(
      step,
      await readSelfAttention(this.#model, this.#tokenizer, read),
    );
  }
}
