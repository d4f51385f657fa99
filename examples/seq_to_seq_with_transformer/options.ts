/** The options of `seq_to_seq_with_transformer.ts`: presets, and a flag for every number in them. */
import {
  addDeviceOptions,
  choice,
  type Command,
  type DeviceOptions,
  integer,
  newCommand,
  number,
  positive,
  share,
} from "../../src/cli/arguments.ts";
import type { RunRequest } from "../../src/cli/runs.ts";

/** Everything that a run depends on. */
export interface Options extends DeviceOptions {
  preset: Preset;
  data?: string;
  /** All pairs if omitted. */
  pairs?: number;
  minFrequency: number;
  sourceLength: number;
  targetLength: number;
  /** True to cut longer sentences, false to drop them. */
  cut?: boolean;
  held: number;
  embed: number;
  hidden: number;
  layers: number;
  heads: number;
  dropout: number;
  batch: number;
  epochs: number;
  lr: number;
  minLr: number;
  warmup: number;
  labelSmoothing: number;
  clip: number;
  saveEvery: number;
  samples: number;
  scored: number;
  seed: number;
}

/** What the command line asks for: a new run, a folder to resume, or a sentence to translate. */
export interface CommandLine extends RunRequest<Options> {
  translate?: string;
  /** The folder of the model that translates. */
  model?: string;
  beamWidth: number;
}

type Preset = "tiny" | "spec";

const shared = {
  device: "auto" as const,
  minFrequency: 2,
  sourceLength: 15,
  targetLength: 16,
  held: 0.1,
  heads: 4,
  dropout: 0.1,
  labelSmoothing: 0.01,
  clip: 1,
  saveEvery: 500,
  samples: 5,
  seed: 1337,
};

const presets: Record<Preset, Omit<Options, "preset">> = {
  // Minutes on two CPU cores.
  tiny: {
    ...shared,
    ...{ pairs: 12_000, embed: 96, hidden: 192, layers: 2 },
    ...{ batch: 64, epochs: 10, lr: 2e-3, minLr: 2e-5, warmup: 100, scored: 100 },
  },
  // The run that this example reproduces: all pairs of the download, none held out, one rate; for a GPU.
  spec: {
    ...shared,
    ...{ embed: 256, hidden: 512, layers: 4, held: 0, cut: true },
    ...{ batch: 1024, epochs: 400, lr: 1e-3, minLr: 1e-3, warmup: 0, scored: 1000 },
  },
};

function createCommand(): Command {
  const command = newCommand(
    "seq_to_seq_with_transformer",
    "Trains an encoder-decoder Transformer to translate English to French, or translates with it.",
  )
    .option("--preset <tiny|spec>", "sizes and schedule to start from", choice(["tiny", "spec"]));
  return addDeviceOptions(command)
    .option("--data <file>", "pairs, tab-separated, .txt or .zip (default: downloaded into runs/)")
    .option("--out <folder>", "model, log and pictures (default: a new folder in runs/)")
    .option("--resume [folder]", "go on with a run that was stopped (default: the newest in runs/)")
    .option("--translate <sentence>", "translate this with a model that was trained, and end")
    .option("--model <folder>", "the model for --translate (default: the newest run in runs/)")
    .option("--beam-width <n>", "paths that --translate keeps (default: 3)", positive)
    .option("--pairs <n>", "use only the first pairs of the file", positive)
    .option("--min-frequency <n>", "words that are rarer are unknown", positive)
    .option("--source-length <n>", "words of a sentence, <EOS> too", positive)
    .option("--target-length <n>", "the same of its translation", positive)
    .option("--cut", "cut longer sentences, instead of leaving them out")
    .option("--held <share>", "share of the sentences that is kept for validation", share)
    .option("--embed <n>", "width", positive)
    .option("--hidden <n>", "width inside the feed-forward layers", positive)
    .option("--layers <n>", "of the encoder, and of the decoder", positive)
    .option("--heads <n>", "attention heads", positive)
    .option("--dropout <p>", "probability", share)
    .option("--batch-size <n>", "pairs of a step", positive)
    .option("--epochs <n>", "times that all pairs are gone through", positive)
    .option("--lr <x>", "highest learning rate", number)
    .option("--min-lr <x>", "what the rate falls to", number)
    .option("--warmup <n>", "steps of linear warm-up", integer)
    .option("--label-smoothing <x>", "share of the loss that is spread over all words", share)
    .option("--clip <x>", "global norm that gradients are clipped to", number)
    .option("--save-every <n>", "steps between checkpoints; each epoch ends with one", positive)
    .option("--samples <n>", "sentences to show with their translations", positive)
    .option("--scored <n>", "sentences to compute BLEU on in the end", positive)
    .option("--seed <n>", "of weights, dropout, split and order", integer)
    .addHelpText("after", help());
}

/** Parses a command line. Prints the help or the error and exits if necessary. */
export function parseOptions(args: string[]): CommandLine {
  const command = createCommand();
  const { batchSize, out, resume, translate, model, beamWidth = 3, preset = "tiny", ...given } =
    command.parse(args, { from: "user" }).opts();
  if (batchSize !== undefined) given.batch = batchSize;
  const options: Options = { ...presets[preset as Preset], ...given, preset };
  // A given rate falls in the same way as the preset's.
  if (given.lr !== undefined && given.minLr === undefined) {
    const { lr, minLr } = presets[preset as Preset];
    options.minLr = options.lr * minLr / lr;
  }
  const problem = check(options);
  if (problem) command.error(`error: ${problem}`);
  if (out !== undefined && resume !== undefined) {
    command.error("error: --out names a new run, --resume goes on with one: give one of them");
  }
  if (model !== undefined && translate === undefined) {
    command.error("error: --model goes with --translate");
  }
  const typed = command.options.filter(({ long }) =>
    command.getOptionValueSource(command.createOption(long!).attributeName()) === "cli"
  ).map(({ long }) => long!);
  return { options, out, resume, translate, model, beamWidth, given: typed };
}

function check(o: Options): string | undefined {
  if (o.embed % (2 * o.heads) !== 0) {
    return `--heads: expected heads of even size in --embed ${o.embed} but got ${o.heads} heads`;
  }
  if (o.dropout >= 1) return `--dropout: expected a number in [0, 1) but got ${o.dropout}`;
  if (o.minLr > o.lr) return `--min-lr: expected at most --lr ${o.lr} but got ${o.minLr}`;
  if (o.held === 1) return "--held: expected a share below 1 but got 1";
  return undefined;
}

function help(): string {
  const rows = Object.entries(presets).map(([name, p]) =>
    `  ${name.padEnd(5)} ${p.layers} layers of ${p.embed}, ${p.heads} heads, ` +
    `${p.pairs ? `the first ${p.pairs.toLocaleString("en")}` : "all"} pairs, ` +
    `${p.epochs} epochs in batches of ${p.batch}, lr ${p.lr}`
  );
  return `\nPresets (default: tiny):\n${rows.join("\n")}`;
}
