/** `dinograd evaluate`: HellaSwag, perplexity, bits per byte. */
import {
  evaluateHellaSwag,
  loadHellaSwag,
  openDevice,
  openProgress,
  textPerplexity,
} from "../../mod.ts";
import { findModel } from "../../examples/generate/load.ts";
import { UsageError } from "./failures.ts";
import { print, readText } from "./output.ts";

/** What `evaluate` is asked for. */
export interface EvaluateOptions {
  readonly device: "auto" | "webgpu" | "cpu";
  readonly text?: string;
  readonly stride?: number;
  readonly context?: number;
  readonly hellaswag?: string | true;
  readonly limit?: number;
  readonly json?: boolean;
}

/** Scores a model on a text, on HellaSwag, or on both. */
export async function evaluate(from: string, options: EvaluateOptions): Promise<void> {
  const { device: kind, text: file, stride, context: contextSize, hellaswag, limit } = options;
  if (file === undefined && hellaswag === undefined) {
    throw new UsageError("nothing to evaluate: give --text, --hellaswag or both");
  }
  const device = await openDevice({ ...kind === "auto" ? {} : { kind }, log: console.error });
  const found = await findModel(from, device);
  if ("interpreter" in found) throw new UsageError(`${from} translates; it has no perplexity`);
  const { model, tokenizer } = found;
  const result: Record<string, unknown> = { model: from, parameters: model.parameterCount() };
  if (file !== undefined) {
    const text = await readText(file);
    using progress = await openProgress({ label: "perplexity", total: text.length, lineEvery: 10 });
    result.text = await textPerplexity(model, tokenizer, text, {
      stride,
      contextSize,
      onProgress: (done, total) => progress.update(Math.round(text.length * done / total)),
    });
  }
  if (hellaswag !== undefined) {
    const items = await loadHellaSwag(hellaswag === true ? {} : { path: hellaswag });
    const total = Math.min(limit ?? items.length, items.length);
    using progress = await openProgress({ label: "HellaSwag", total, lineEvery: 10 });
    result.hellaswag = await evaluateHellaSwag(model, tokenizer, items, {
      limit,
      onProgress: (score) => progress.update(score.items),
    });
  }
  print(options.json ? JSON.stringify(result, null, 2) : lines(result));
}

/** One figure a line. */
function lines(result: Record<string, unknown>, prefix = ""): string {
  return Object.entries(result).map(([name, value]) =>
    value !== null && typeof value === "object"
      ? lines(value as Record<string, unknown>, `${prefix}${name}.`)
      : `${prefix}${name}: ${
        typeof value === "number" && !Number.isInteger(value) ? value.toFixed(5) : value
      }`
  ).join("\n");
}
