/** `dinograd convert`: converts weights from one layout to another. */
import { CpuDevice, formatCount, Interrupt, LLaMA, saveGguf, saveLlama2c } from "../../mod.ts";
import { UsageError } from "./failures.ts";
import { findModel, saveFound } from "./find_model.ts";
import { exists } from "./runs.ts";
import { paddedVocabSize } from "./train/model.ts";

/** Options of `convert`. */
export interface ConvertOptions {
  /** Default: by the extension of the target. */
  readonly to?: "huggingface" | "gguf" | "llama2c";
  readonly dtype?: "f32" | "f16" | "bf16" | "q8_0" | "q4_0" | undefined;
  readonly force?: boolean;
}

/**
 * Reads a model as `generate` does and writes it as `to` or the target's extension says, with weights in `f32` unless
 * `dtype` says otherwise.
 */
export async function convert(
  from: string,
  target: string,
  options: ConvertOptions,
): Promise<void> {
  const { to = layoutOf(target), force } = options;
  const dtype = options.dtype ?? (to === "llama2c" ? undefined : "f32");
  if (dtype !== undefined && to === "llama2c") {
    throw new UsageError(
      "--dtype: expected --to huggingface or gguf but got llama2c, which has f32 alone",
    );
  }
  if (to === "huggingface" && (dtype === "q8_0" || dtype === "q4_0")) {
    throw new UsageError(`--dtype ${dtype}: expected --to gguf but got huggingface`);
  }
  if (!force && await exists(target)) {
    throw new UsageError(
      `convert: expected a new target but got ${target}, which exists; use another, or --force to overwrite it`,
    );
  }
  const isNew = !await exists(target);
  using interrupt: Interrupt = new Interrupt(() => {
    if (isNew) removeIfThere(target); // half a model is useless
    console.error("stopped");
    Deno.exit(interrupt.exitCode);
  });
  using device = CpuDevice.open();
  const found = await findModel(from, device, { matrices: "stored" });
  if ("interpreter" in found) {
    throw new UsageError(
      `convert: expected a model that continues a text but got ${from}, which translates`,
    );
  }
  const { model, tokenizer } = found;
  if (to === "llama2c") {
    if (!(model instanceof LLaMA)) {
      throw new UsageError("--to llama2c: expected a LLaMA but got another model");
    }
    await saveLlama2c(model, target);
  } else {
    // Training pads the vocabulary for speed; other programs expect as many rows as there are ids.
    const isPadded = model.config.vocabSize === paddedVocabSize(tokenizer.vocabSize);
    const vocabSize = isPadded ? tokenizer.vocabSize : undefined;
    if (to === "gguf") {
      const chatTemplate = await found.chatTemplate();
      await saveGguf(target, model, { dtype, vocabSize, tokenizer, chatTemplate });
    } // The checks above leave only types that this layout supports.
    else await saveFound(found, target, { dtype: dtype as "f32", vocabSize });
  }
  console.error(
    `wrote ${formatCount(model.parameterCount())} parameters of ${from} to ${target}`,
  );
}

function layoutOf(target: string): NonNullable<ConvertOptions["to"]> {
  return target.endsWith(".gguf") ? "gguf" : target.endsWith(".bin") ? "llama2c" : "huggingface";
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
