/** The options of `next_token_byte_pair.ts`: presets, and a flag for every number in them. */
import {
  addDeviceOptions,
  choice,
  choices,
  type DeviceOptions,
  integer,
  newCommand,
  number,
  positive,
} from "../../src/cli/arguments.ts";
import type { RunRequest } from "../../src/cli/runs.ts";
import { MODEL_NAMES, type ModelName, type ModelOptions } from "./models.ts";

/** Everything that a run depends on. */
export interface Options extends ModelOptions, DeviceOptions {
  preset: Preset;
  models: ModelName[];
  data?: string;
  prompt: string;
  seed: number;
  merges: number;
  /** True if the tokenizer also learns from the validation text. */
  wholeText?: boolean;
  batch: number;
  epochs: number;
  lr: number;
  minLr: number;
  /** In epochs, possibly a fraction. */
  warmup: number;
  weightDecay: number;
  clip: number;
  saveEvery: number;
  samples: number;
  sampleLength: number;
  topK: number;
  temperature: number;
}

type Preset = "tiny" | "spec";

const shared = {
  models: [...MODEL_NAMES],
  device: "auto" as const,
  prompt: "Now that we have learned how to work with probability",
  seed: 1337,
  merges: 500,
  localBlock: 8,
  weightDecay: 0.1,
  clip: 1,
  samples: 1,
  topK: 100,
  temperature: 1,
};

const presets: Record<Preset, Omit<Options, "preset">> = {
  // Minutes per model on two CPU cores.
  tiny: {
    ...shared,
    ...{ context: 64, embed: 128, layers: 2, heads: 4, kvHeads: 2, dropout: 0.1 },
    ...{ batch: 32, epochs: 3, lr: 2e-3, minLr: 2e-4, warmup: 0.3 },
    ...{ saveEvery: 100, sampleLength: 64 },
  },
  // The sizes and the schedule of the run that this example reproduces; for a GPU.
  spec: {
    ...shared,
    ...{ context: 256, embed: 384, layers: 4, heads: 6, kvHeads: 3, dropout: 0.4 },
    ...{ batch: 64, epochs: 100, lr: 1e-3, minLr: 1e-5, warmup: 5 },
    ...{ saveEvery: 500, sampleLength: 100, wholeText: true },
  },
};

/** Parses a command line. Prints the help or the error and exits if necessary. */
export function parseOptions(args: string[]): RunRequest<Options> {
  const command = newCommand(
    "next_token_byte_pair",
    "Trains a tokenizer, and then GPT-2, GPT-3 and LLaMA 1, 2 and 3, on Shakespeare.",
  )
    .option("--models <names>", `some of ${MODEL_NAMES.join(",")}`, choices(MODEL_NAMES))
    .option("--preset <tiny|spec>", "sizes and schedule to start from", choice(["tiny", "spec"]));
  addDeviceOptions(command)
    .option("--data <file>", "a text (default: tiny Shakespeare, downloaded into runs/)")
    .option("--out <folder>", "models, log and pictures (default: a new folder in runs/)")
    .option("--resume [folder]", "go on with a run that was stopped (default: the newest in runs/)")
    .option("--prompt <text>", "what samples continue, and attention is drawn for")
    .option("--seed <n>", "of weights, order, dropout and samples", integer)
    .option("--merges <n>", "of the tokenizer, over the 256 bytes", integer)
    .option("--whole-text", "the tokenizer learns from the validation text, too")
    .option("--context <n>", "tokens of a sequence", positive)
    .option("--embed <n>", "width", positive)
    .option("--layers <n>", "transformer blocks", positive)
    .option("--heads <n>", "attention heads", positive)
    .option("--kv-heads <n>", "heads of keys and values in LLaMA 2 and 3", positive)
    .option("--local-block <n>", "tokens of a block in GPT-3's sparse attention", positive)
    .option("--dropout <p>", "probability, in the GPTs", number)
    .option("--batch-size <n>", "sequences of a step", positive)
    .option("--epochs <n>", "times that the text is gone through", positive)
    .option("--lr <x>", "highest learning rate", number)
    .option("--min-lr <x>", "what the rate falls to", number)
    .option(
      "--warmup <n>",
      "epochs of linear warm-up; the rate then changes from epoch to epoch",
      number,
    )
    .option("--weight-decay <x>", "of matrices", number)
    .option("--clip <x>", "global norm that gradients are clipped to", number)
    .option("--save-every <n>", "steps between checkpoints; each epoch ends with one", positive)
    .option("--samples <n>", "samples to draw, with a prompt and without", integer)
    .option("--sample-length <n>", "tokens of a sample", positive)
    .option("--top-k <n>", "samples are drawn from so many likeliest tokens", positive)
    .option("--temperature <x>", "of samples; 0: always the likeliest token", number)
    .addHelpText("after", help());
  const { batchSize, out, resume, preset = "tiny", ...given } = command
    .parse(args, { from: "user" }).opts();
  if (batchSize !== undefined) given.batch = batchSize;
  const options: Options = { ...presets[preset as Preset], ...given, preset };
  // A given rate falls to a tenth of itself.
  if (given.lr !== undefined && given.minLr === undefined) options.minLr = options.lr / 10;
  const problem = check(options);
  if (problem) command.error(`error: ${problem}`);
  if (out !== undefined && resume !== undefined) {
    command.error("error: --out names a new run, --resume goes on with one: give one of them");
  }
  const typed = command.options.filter(({ long }) =>
    command.getOptionValueSource(command.createOption(long!).attributeName()) === "cli"
  ).map(({ long }) => long!);
  return { options, out, resume, given: typed };
}

function check(o: Options): string | undefined {
  if (o.embed % (2 * o.heads) !== 0) {
    return `--heads: expected heads of even size in --embed ${o.embed} but got ${o.heads} heads`;
  }
  if (o.heads % o.kvHeads !== 0) {
    return `--kv-heads: expected a divisor of --heads ${o.heads} but got ${o.kvHeads}`;
  }
  if (o.dropout >= 1) return `--dropout: expected a number in [0, 1) but got ${o.dropout}`;
  if (o.warmup >= o.epochs) {
    return `--warmup: expected fewer than ${o.epochs} epochs but got ${o.warmup}`;
  }
  if (o.minLr > o.lr) return `--min-lr: expected at most --lr ${o.lr} but got ${o.minLr}`;
  if (o.prompt === "") return "--prompt: expected a text but got an empty one";
  return undefined;
}

function help(): string {
  const rows = Object.entries(presets).map(([name, p]) =>
    `  ${
      name.padEnd(5)
    } ${p.layers} layers of ${p.embed}, ${p.heads} heads, context ${p.context}, ` +
    `${p.epochs} epochs in batches of ${p.batch}, lr ${p.lr}`
  );
  return `\nPresets (default: tiny):\n${rows.join("\n")}`;
}
