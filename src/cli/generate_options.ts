/** The options of `generate`. */
import {
  addCacheOption,
  addDeviceOptions,
  addMatrixOption,
  type CacheOptions,
  choice,
  type Command,
  type DeviceOptions,
  integer,
  type MatrixOptions,
  MODEL,
  NAME,
  newCommand,
  number,
  positive,
  share,
} from "./arguments.ts";

/** All options that a text depends on. */
export interface Options extends DeviceOptions, MatrixOptions, CacheOptions {
  folder: string;
  /** The text to continue or translate; undefined if none was given. */
  prompt?: string;
  length?: number;
  temperature: number;
  topK?: number | undefined;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  stop: string[];
  seed: number;
  samples: number;
  /** Undefined if text is sampled. */
  beam?: number;
  overflow: "error" | "slide";
  /** The folders of adapters, which are added to the model. */
  adapter: string[];
}

/** Options for sampling only. */
const SAMPLING = ["temperature", "topK", "topP", "minP", "repetitionPenalty", "stop", "seed"];

/** Returns the command, for its help and for shell completion. */
export function generateCommand(): Command {
  const command = newCommand(`${NAME} generate`, "Continues a text, or translates a sentence.")
    .argument(
      "<model>",
      MODEL,
    )
    .argument("[sentence...]", "what to continue, or to translate where the model is a translator")
    .option("--prompt <text>", "the same as the sentence")
    .option(
      "--adapter <folder>",
      "add a low-rank adapter to the model; may be given several times",
      collect,
    );
  return addCacheOption(addMatrixOption(addDeviceOptions(command)))
    .option(
      "--length <n>",
      "most tokens to add (default: 200; a translation may be of any length)",
      positive,
    )
    .option("--temperature <x>", "0 takes the likeliest token each time (default: 1)", number)
    .option("--top-k <n>", "draw from the n likeliest tokens", positive)
    .option("--top-p <x>", "draw from the likeliest tokens that have this probability", share)
    .option("--min-p <x>", "draw from tokens this likely, measured by the likeliest", share)
    .option("--repetition-penalty <x>", "above 1: tokens that were there get less likely", number)
    .option("--stop <text>", "end before this text; may be given several times", collect)
    .option("--seed <n>", "of the samples (default: another one each time)", integer)
    .option("--samples <n>", "texts to write (default: 1)", positive)
    .option(
      "--beam <n>",
      "search the likeliest text with so many paths; translators do with 3",
      positive,
    )
    .option(
      "--overflow <slide|error>",
      "texts longer than the context: forget their beginning, or refuse (default: slide)",
      choice(["slide", "error"]),
    );
}

/** Parses a command line; prints the help or an error and exits, if need be. */
export function parseOptions(args: string[]): Options {
  const command = generateCommand();
  const given = command.parse(args, { from: "user" }).opts();
  const [folder = "", ...words] = command.args;
  const sentence = words.length ? words.join(" ") : undefined;
  if (sentence !== undefined && given.prompt !== undefined) {
    command.error("error: there is a sentence and a --prompt: give one of them");
  }
  const sampling = SAMPLING.filter((name) => given[name] !== undefined);
  if (given.beam !== undefined && sampling.length) {
    const names = sampling.map((name) =>
      "--" + name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
    );
    command.error(`error: --beam draws nothing: leave out ${names.join(", ")}`);
  }
  if (given.beam < given.samples) {
    command.error(`error: --beam ${given.beam} finds fewer texts than --samples ${given.samples}`);
  }
  return {
    device: "auto",
    temperature: 1,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    stop: [],
    adapter: [],
    seed: crypto.getRandomValues(new Uint32Array(1))[0]!,
    samples: 1,
    overflow: "slide",
    ...given,
    folder,
    prompt: given.prompt ?? sentence,
  };
}

function collect(text: string, before: string[] = []): string[] {
  return [...before, text];
}
