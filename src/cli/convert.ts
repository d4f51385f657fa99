/** `dinograd convert`: weights from one layout into another. */
import { join } from "node:path";
import {
  BytePairTokenizer,
  CpuDevice,
  formatCount,
  GPT2,
  GPT2Tokenizer,
  Interrupt,
  LLaMA,
  saveLlama2c,
  saveModel,
  savePretrained,
} from "../../mod.ts";
import { UsageError } from "./failures.ts";
import { findModel } from "./find_model.ts";
import { exists } from "./runs.ts";

/** What `convert` is asked for. */
export interface ConvertOptions {
  readonly to: "dinograd" | "huggingface" | "llama2c";
  readonly dtype?: "f32" | "f16" | "bf16";
  readonly force?: boolean;
}

/** Reads a model as `generate` does and writes it as `to` says, weights in `f32` unless `dtype` says otherwise. */
export async function convert(
  from: string,
  target: string,
  options: ConvertOptions,
): Promise<void> {
  const { to, dtype, force } = options;
  if (dtype !== undefined && to !== "huggingface") {
    throw new UsageError(`--dtype is for --to huggingface: ${to} has f32 alone`);
  }
  if (!force && await exists(target)) {
    throw new UsageError(`${target} is there already: name another, or give --force`);
  }
  const isNew = !await exists(target);
  using interrupt: Interrupt = new Interrupt(() => {
    if (isNew) removeIfThere(target); // half a model is useless
    console.error("stopped");
    Deno.exit(interrupt.exitCode);
  });
  using device = CpuDevice.open();
  const found = await findModel(from, device);
  if ("interpreter" in found) {
    throw new UsageError(`${from} translates: only dinograd's own layout has such models`);
  }
  const { model, tokenizer } = found;
  const isForeign = model instanceof GPT2 || model instanceof LLaMA;
  if (to !== "dinograd" && !isForeign) {
    throw new UsageError(`GPT-3 has no layout but dinograd's own`);
  }
  if (to === "llama2c" && !(model instanceof LLaMA)) {
    throw new UsageError("llama2.c has only LLaMA");
  }

  if (to === "dinograd") await saveModel(target, model);
  else if (to === "llama2c") await saveLlama2c(model as LLaMA, target);
  else {
    // GPT-2's vocabulary is padded for speed; others expect its 50,257 rows.
    const vocabSize = tokenizer instanceof GPT2Tokenizer ? tokenizer.vocabSize : undefined;
    await savePretrained(model as GPT2 | LLaMA, target, { dtype, vocabSize });
  }
  console.error(
    `${formatCount(model.parameterCount())} parameters of ${from} written to ${target}` +
      (to === "llama2c" ? "" : await copyTokenizer()),
  );

  /** The file of the tokenizer, where the target's readers know it; what is to be said otherwise. */
  async function copyTokenizer(): Promise<string> {
    const file = join(target, "tokenizer.json");
    if (tokenizer instanceof BytePairTokenizer && to === "dinograd") {
      await tokenizer.save(file);
      return "";
    }
    const source = join(from, "tokenizer.json");
    if (!(tokenizer instanceof BytePairTokenizer) && await exists(source)) {
      await Deno.copyFile(source, file);
      return "";
    }
    return tokenizer instanceof GPT2Tokenizer && to === "huggingface"
      ? "; the tokenizer is GPT-2's own"
      : "; its tokenizer has no file in that layout";
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
