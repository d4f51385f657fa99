/** Parses the command lines of programs. */
import { Command, InvalidArgumentError } from "npm:commander@15.1.0";
import type { CacheDType, MatrixType } from "../../mod.ts";

export type { Command };

/** The name of the installed command: `deno install -gA -n dinograd jsr:@dinograd/dinograd/cli`. */
export const NAME = "dinograd";

/** The ways to name a model. */
export const MODEL = "a folder in Hugging Face's layout, a run of train or finetune, " +
  "a name on the hub such as openai-community/gpt2, a .gguf, or a llama2.c .bin";

/** What a tokenizer may be named by. */
export const TOKENIZER =
  "gpt2, a tokenizer.json, a .gguf, llama2.c's tokenizer.bin, the folder of a run or a model, " +
  "or a name on the hub";

/** Creates a command that asks for no permission; wrong usage ends the process with exit code 2. */
export function newCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    // Checking for colours reads the environment, for which a permission would be needed.
    .configureOutput({ getOutHasColors: () => false, getErrHasColors: () => false })
    .exitOverride(({ exitCode }) => Deno.exit(exitCode === 0 ? 0 : 2))
    .showHelpAfterError("(for more information, try --help)");
}

/** Parses one of several words. */
export function choice(allowed: readonly string[]): (text: string) => string {
  return (text) => {
    if (!allowed.includes(text)) {
      throw new InvalidArgumentError(`Expected one of ${allowed.join(", ")}.`);
    }
    return text;
  };
}

/** Parses some of several words, separated by commas; in the order given, each once. */
export function choices<T extends string>(allowed: readonly T[]): (text: string) => T[] {
  const one = choice(allowed);
  return (text) => [...new Set(text.split(",").map((part) => one(part.trim()) as T))];
}

/** Parses a number of 0 or more. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) {
    throw new InvalidArgumentError("Expected a number of 0 or more.");
  }
  return value;
}

/** Parses a number from 0 to 1. */
export function share(text: string): number {
  const value = number(text);
  if (value > 1) throw new InvalidArgumentError("Expected a number from 0 to 1.");
  return value;
}

/** Parses an integer of 0 or more. */
export function integer(text: string): number {
  const value = number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("Expected an integer.");
  return value;
}

/** Parses a TCP port. */
export function port(text: string): number {
  const value = integer(text);
  if (value > 65535) throw new InvalidArgumentError("Expected an integer from 0 to 65535.");
  return value;
}

/** Parses an integer above 0. */
export function positive(text: string): number {
  const value = integer(text);
  if (value === 0) throw new InvalidArgumentError("Expected an integer above 0.");
  return value;
}

/** Where to compute. */
export interface DeviceOptions {
  device: "auto" | "webgpu" | "cpu";
  /** An implementation of WebGPU other than the runtime's. */
  gpu?: "dawn";
  /** Whether a GPU's programs are chosen by timing them. */
  tune?: "off" | "on" | "again";
}

/** Adds `--device`, `--gpu` and `--tune`; `preset` is the default device. */
export function addDeviceOptions(command: Command, preset?: "auto"): Command {
  const devices = ["auto", "webgpu", "cpu"];
  return addGpuOption(
    command.option("--device <auto|webgpu|cpu>", "device to run on", choice(devices), preset),
  ).option(
    "--tune <off|on|again>",
    "time GPU kernels in the first steps and keep the fastest; again: discard earlier results",
    choice(["off", "on", "again"]),
  );
}

/** What {@linkcode addMatrixOption} adds. */
export interface MatrixOptions {
  /** Undefined: as the model's file has them. */
  readonly dtype?: MatrixType;
}

/** What {@linkcode addCacheOption} adds. */
export interface CacheOptions {
  /** Undefined: that of activations. */
  readonly cacheDtype?: CacheDType;
}

/** Adds `--dtype` of a model that computes without being trained. */
export function addMatrixOption(command: Command): Command {
  return command.option(
    "--dtype <f16|q8_0|q4_0>",
    "dtype of the weight matrices in memory (default: as stored, but f32 for bf16)",
    choice(["f16", "q8_0", "q4_0"]),
  );
}

/** Adds `--top-k`, `--top-p` and `--min-p` of a command that generates text. */
export function addNucleusOptions(command: Command): Command {
  return command
    .option("--top-k <n>", "sample from the n most likely tokens", positive)
    .option(
      "--top-p <x>",
      "sample from the most likely tokens that add up to this probability",
      share,
    )
    .option(
      "--min-p <x>",
      "sample from tokens at least this likely, relative to the most likely one",
      share,
    );
}

/** Adds `--cache-dtype` of a model that decodes. */
export function addCacheOption(command: Command): Command {
  return command.option(
    "--cache-dtype <f32|f16|int8>",
    "dtype of the key-value cache; f16 takes half the memory of f32, int8 about a quarter (default: f32)",
    choice(["f32", "f16", "int8"]),
  );
}

/** Adds `--gpu`. */
export function addGpuOption(command: Command): Command {
  return command.option(
    "--gpu <dawn>",
    "use Dawn, Chrome's WebGPU, instead of Deno's (needs --allow-ffi; downloads 132 MB once)",
    choice(["dawn"]),
  );
}
