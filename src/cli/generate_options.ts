/** The options of `generate`. */
import {
  addCacheOption,
  addDeviceOptions,
  addMatrixOption,
  addNucleusOptions,
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
  const command = newCommand(`${NAME} generate`, "continue a text or translate a sentence")
    .argument(
      "<model>",
      MODEL,
    )
    .argument(
      "[sentence...]",
      "text to continue, or sentence to translate if the model is a translator",
    )
    .option("--prompt <text>", "same as the sentence")
    .option(
      "--adapter <folder>",
      "add a low-rank adapter, or that of a run, to the model; can be repeated",
      collect,
    )
    .addHelpText(
      "after",
      `
Examples:
  ${NAME} generate openai-community/gpt2 "Once upon a time" --top-p 0.9
  ${NAME} generate runs/my-run "ROMEO:" --length 80 --temperature 0.8 --top-k 50 --seed 2
  ${NAME} generate my-model "Once upon a time" --adapter my-adapter`,
    );
  addCacheOption(addMatrixOption(addDeviceOptions(command)))
    .option(
      "--length <n>",
      "maximum number of tokens to generate (default: 200; translations: unlimited)",
      positive,
    )
    .option(
      "--temperature <x>",
      "sampling temperature; 0 always takes the most likely token (default: 1)",
      number,
    );
  return addNucleusOptions(command)
    .option(
      "--repetition-penalty <x>",
      "above 1: make tokens that already occurred less likely",
      number,
    )
    .option("--stop <text>", "stop before this text; can be repeated", collect)
    .option("--seed <n>", "random seed (default: a new one each time)", integer)
    .option("--samples <n>", "number of texts to generate (default: 1)", positive)
    .option(
      "--beam <n>",
      "use beam search with a beam of n instead of sampling (default for translators: 3)",
      positive,
    )
    .option(
      "--overflow <slide|error>",
      "if a text outgrows the context: drop its beginning, or fail (default: slide)",
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
    command.error("error: expected a sentence or --prompt but got both");
  }
  const sampling = SAMPLING.filter((name) => given[name] !== undefined);
  if (given.beam !== undefined && sampling.length) {
    const names = sampling.map((name) =>
      "--" + name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
    );
    command.error(`error: --beam does not sample: leave out ${names.join(", ")}`);
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
