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
    "train a tokenizer, then GPT-2, GPT-3 and LLaMA 1, 2 and 3, on Shakespeare",
  )
    .option(
      "--models <names>",
      `comma-separated models (default: ${MODEL_NAMES.join(",")})`,
      choices(MODEL_NAMES),
    )
    .option(
      "--preset <tiny|spec>",
      "sizes and schedule to start from (default: tiny)",
      choice(["tiny", "spec"]),
    );
  addDeviceOptions(command)
    .option("--data <file>", "text file (default: tiny Shakespeare, downloaded into runs/)")
    .option("--out <folder>", "folder for models, log and pictures (default: a new one in runs/)")
    .option("--resume [folder]", "resume a run that was stopped (default: the newest in runs/)")
    .option("--prompt <text>", "prompt for the samples and the attention maps")
    .option("--seed <n>", "random seed for weights, order, dropout and samples", integer)
    .option("--merges <n>", "number of byte pair merges, in addition to the 256 bytes", integer)
    .option("--whole-text", "also train the tokenizer on the validation text")
    .option("--context <n>", "tokens per sequence", positive)
    .option("--embed <n>", "model width", positive)
    .option("--layers <n>", "number of transformer blocks", positive)
    .option("--heads <n>", "number of attention heads", positive)
    .option("--kv-heads <n>", "number of key-value heads in LLaMA 2 and 3", positive)
    .option("--local-block <n>", "tokens per block in GPT-3's sparse attention", positive)
    .option("--dropout <p>", "dropout probability of the GPTs", number)
    .option("--batch-size <n>", "sequences per step", positive)
    .option("--epochs <n>", "passes over the text", positive)
    .option("--lr <x>", "maximum learning rate", number)
    .option("--min-lr <x>", "final learning rate", number)
    .option(
      "--warmup <n>",
      "epochs of linear warm-up; afterwards the rate changes once per epoch",
      number,
    )
    .option("--weight-decay <x>", "weight decay of matrices", number)
    .option("--clip <x>", "maximum global norm of the gradients", number)
    .option(
      "--save-every <n>",
      "steps between checkpoints; each epoch also ends with one",
      positive,
    )
    .option("--samples <n>", "number of samples, with and without a prompt", integer)
    .option("--sample-length <n>", "tokens per sample", positive)
    .option("--top-k <n>", "sample from the n most likely tokens", positive)
    .option(
      "--temperature <x>",
      "sampling temperature; 0 always takes the most likely token",
      number,
    )
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
    command.error("error: expected --out for a new run or --resume but got both");
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
    } ${p.layers} layers of width ${p.embed}, ${p.heads} heads, context ${p.context}, ` +
    `${p.epochs} epochs in batches of ${p.batch}, lr ${p.lr}`
  );
  return `\nPresets, which set the defaults of the options above:\n${rows.join("\n")}`;
}
