/** `dinograd evaluate`: HellaSwag, perplexity, bits per byte. */
import {
  evaluateHellaSwag,
  type HellaSwagScore,
  Interrupt,
  loadHellaSwag,
  openProgress,
  type TextPerplexity,
  textPerplexity,
  type Tokenizer,
} from "../../mod.ts";
import type { DeviceOptions, MatrixOptions } from "./arguments.ts";
import { findModel, type TextModel } from "./find_model.ts";
import { UsageError } from "./failures.ts";
import { openChosenDevice } from "./open_device.ts";
import { print, readText } from "./output.ts";

/** Options of `evaluate`. */
export interface EvaluateOptions extends DeviceOptions, MatrixOptions {
  readonly text?: string;
  readonly stride?: number | undefined;
  readonly context?: number;
  readonly hellaswag?: string | true;
  readonly limit?: number | undefined;
  readonly json?: boolean;
}

/** Scores a model on a text, on HellaSwag, or on both. Returns the exit code. */
export async function evaluate(from: string, options: EvaluateOptions): Promise<number> {
  const { text: file, hellaswag } = options;
  if (file === undefined && hellaswag === undefined) {
    throw new UsageError("evaluate: expected --text, --hellaswag or both but got neither");
  }
  const device = await openChosenDevice(options);
  const found = await findModel(from, device, { matrices: options.dtype ?? "stored" });
  if ("interpreter" in found) {
    throw new UsageError(
      `evaluate: expected a model that continues a text but got ${from}, which translates`,
    );
  }
  const { model, tokenizer } = found;
  const result: Record<string, unknown> = { model: from, parameters: model.parameterCount() };
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  try {
    if (file !== undefined) {
      result.text = await scoreText(model, tokenizer, await readText(file), options, signal);
    }
    if (hellaswag !== undefined) {
      await scoreHellaSwag(model, tokenizer, options, signal, (score) => result.hellaswag = score);
    }
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    console.error("stopped; results so far:");
  }
  print(options.json ? JSON.stringify(result, null, 2) : lines(result));
  return interrupt.exitCode;
}

async function scoreText(
  model: TextModel,
  tokenizer: Tokenizer,
  text: string,
  { stride, context: contextSize }: EvaluateOptions,
  signal: AbortSignal,
): Promise<TextPerplexity> {
  using progress = await openProgress({ label: "perplexity", total: text.length, lineEvery: 10 });
  return await textPerplexity(model, tokenizer, text, {
    ...{ stride, contextSize, signal },
    onProgress: (done, total) => progress.update(Math.round(text.length * done / total)),
  });
}

/** Scores a model on HellaSwag; `onScore` receives the score so far. */
async function scoreHellaSwag(
  model: TextModel,
  tokenizer: Tokenizer,
  { hellaswag, limit }: EvaluateOptions,
  signal: AbortSignal,
  onScore: (score: HellaSwagScore) => void,
): Promise<void> {
  const items = await loadHellaSwag(hellaswag === true ? {} : { path: hellaswag });
  const total = Math.min(limit ?? items.length, items.length);
  using progress = await openProgress({ label: "HellaSwag", total, lineEvery: 10 });
  const score = await evaluateHellaSwag(model, tokenizer, items, {
    ...{ limit, signal },
    onProgress: (score) => {
      onScore(score);
      progress.update(score.items);
    },
  });
  onScore(score);
}

/** Formats one figure per line. */
function lines(result: Record<string, unknown>, prefix = ""): string {
  return Object.entries(result).map(([name, value]) =>
    value !== null && typeof value === "object"
      ? lines(value as Record<string, unknown>, `${prefix}${name}.`)
      : `${prefix}${name}: ${
        typeof value === "number" && !Number.isInteger(value) ? value.toFixed(5) : value
      }`
  ).join("\n");
}
