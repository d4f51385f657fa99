/** The options of `train`: presets, and a flag for every number in them. */
import {
  addDeviceOptions,
  choice,
  type Command,
  type DeviceOptions,
  integer,
  NAME,
  newCommand,
  number,
  positive,
  TOKENIZER,
} from "../arguments.ts";

/** Everything that a run depends on. */
export interface Options extends DeviceOptions {
  preset: Preset;
  /** The model: GPT-2, or `ModernGPT`. */
  recipe: Recipe;
  optimizer: "adamw" | "muon";
  dtype: "f32" | "f16" | "auto";
  data?: string;
  /** Default: the one beside the shards, or GPT-2's. */
  tokenizer?: string | undefined;
  /** The ids of a tokenizer that is trained on the text. */
  vocabSize?: number;
  out?: string;
  resume?: string | true;
  /** Default: the corpus's. */
  prompt?: string;
  seed: number;
  layers: number;
  heads: number;
  embed: number;
  context: number;
  dropout: number;
  /** Sequences of a micro-batch; as many as fit where it is not there. */
  batch?: number | undefined;
  recompute?: boolean | undefined;
  totalBatch: number;
  /** Steps in which the batch grows from a micro-batch to `totalBatch`. */
  batchWarmup: number;
  steps: number;
  lr: number;
  minLr: number;
  /** What the rate is multiplied with for what Muon leaves to AdamW. */
  adamScale: number;
  schedule: "cosine" | "wsd";
  warmup: number;
  /** Steps of the cool-down of `wsd`. */
  cooldown?: number | undefined;
  weightDecay: number;
  clip: number;
  shuffle?: boolean | undefined;
  documentBorders?: boolean | undefined;
  onNan: "skip" | "stop";
  spike?: number | undefined;
  onSpike: "skip" | "stop" | "warn";
  every: number;
  valTokens: number;
  hellaswag?: string | true;
  hellaswagEvery: number;
  samples: number;
  sampleLength: number;
  topK: number;
  temperature: number;
  keep: number;
  wire?: "f32" | "f16" | undefined;
  shardOptimizer?: boolean | undefined;
  /** Steps that ranks train apart. */
  diloco?: number | undefined;
  profile?: boolean;
}

type Preset = "tiny" | "small" | "124m";
type Recipe = typeof RECIPES[number];
type Sizes =
  & Omit<
    Options,
    | ("preset" | "recipe" | keyof DeviceOptions | "data" | "tokenizer" | "vocabSize")
    | ("out" | "resume" | "prompt" | "profile" | "dtype")
  >
  & {
    dtype?: Options["dtype"] | undefined;
  };

/** The recipes. Names of runs' folders begin with them. */
export const RECIPES = ["gpt2", "modern"] as const;

const shared = {
  seed: 1337,
  dropout: 0,
  optimizer: "adamw" as const,
  schedule: "cosine" as const,
  adamScale: 0.5,
  batchWarmup: 0,
  weightDecay: 0.1,
  clip: 1,
  onNan: "stop" as const,
  onSpike: "skip" as const,
  hellaswagEvery: 250,
  samples: 5,
  sampleLength: 50,
  topK: 100,
  temperature: 1,
  keep: 3,
};

const presets: Record<Preset, Sizes> = {
  // Minutes on two CPU cores. Nobody's published run, so it takes the optimizer that learns more in them.
  tiny: {
    ...shared,
    optimizer: "muon",
    ...{ layers: 3, heads: 4, embed: 64, context: 128, batch: 8, totalBatch: 1024 },
    ...{ steps: 340, lr: 4e-3, minLr: 4e-4, warmup: 10, every: 100, valTokens: 28_672 },
    ...{ weightDecay: 0.01, samples: 2 },
  },
  // An hour or so on a laptop's GPU.
  small: {
    ...shared,
    ...{ layers: 6, heads: 6, embed: 384, context: 256, batch: 8, totalBatch: 16384 },
    ...{ steps: 2000, lr: 1e-3, minLr: 1e-4, warmup: 100, every: 250, valTokens: 40_960 },
  },
  // GPT-2 124M as the reference trains it: 10 billion tokens of FineWeb-Edu.
  "124m": {
    ...shared,
    ...{ layers: 12, heads: 12, embed: 768, context: 1024, totalBatch: 524288 },
    dtype: "auto",
    ...{ steps: 19073, lr: 6e-4, minLr: 6e-5, warmup: 715, every: 250, valTokens: 524_288 },
  },
};

/** Rate and schedule of Muon in every preset, as in nanochat; a preset's own are AdamW's. */
const muon = { lr: 0.02, minLr: 0, schedule: "wsd" as const };

/** A preset by a recipe, with the optimizer that is asked for. */
function presetOf(preset: Preset, recipe: Recipe, asked?: Options["optimizer"]): Sizes {
  const own = presets[preset];
  const optimizer = asked ?? (recipe === "modern" ? "muon" : own.optimizer);
  return { ...own, optimizer, ...optimizer === "muon" && muon };
}

/** The command line, for its help and for shells to complete. */
export function trainCommand(): Command {
  const command = newCommand(
    `${NAME} train`,
    "train GPT-2 from scratch, or a newer model with --recipe modern",
  )
    .option(
      "--preset <tiny|small|124m>",
      "sizes and schedule to start from (default: tiny)",
      choice(Object.keys(presets)),
    )
    .option(
      "--recipe <gpt2|modern>",
      "model and schedule; modern learns from fewer tokens (default: gpt2)",
      choice(RECIPES),
    );
  return addDeviceOptions(command, "auto")
    .option(
      "--dtype <f32|f16|auto>",
      "f16: mixed precision; auto: f16 if the GPU supports it (default: f32; 124m: auto)",
      choice(["f32", "f16", "auto"]),
    )
    .option(
      "--data <path>",
      "text file, or folder of token shards such as edufineweb_train_000001.npy (default: Moby Dick; 124m: required)",
    )
    .option(
      "--tokenizer <name>",
      `tokenizer of the text or the shards: ${TOKENIZER} (default: the one beside the shards, or gpt2)`,
    )
    .option(
      "--vocab-size <n>",
      "train a byte pair tokenizer of n ids on the text and use it",
      positive,
    )
    .option(
      "--out <folder>",
      "folder for checkpoints, log and pictures (default: a new one in runs/)",
    )
    .option("--resume [folder]", "resume from a run's newest checkpoint (default: the newest run)")
    .option("--prompt <text>", "prompt for the samples (default: words of the text)")
    .option("--seed <n>", "random seed for weights, dropout and samples", integer)
    .option("--layers <n>", "number of transformer blocks", positive)
    .option("--heads <n>", "number of attention heads", positive)
    .option("--embed <n>", "model width", positive)
    .option("--context <n>", "tokens per sequence", positive)
    .option("--dropout <p>", "dropout probability", number)
    .option("--batch <n>", "sequences per micro-batch (124m: as many as fit)", positive)
    .option("--recompute", "recompute activations in the backward pass: slower, but less memory")
    .option("--total-batch <n>", "tokens per step, a multiple of batch x context", positive)
    .option("--steps <n>", "number of optimizer steps", positive)
    .option(
      "--batch-warmup <n>",
      "steps in which the batch grows from one micro-batch to its full size",
      integer,
    )
    .option(
      "--optimizer <adamw|muon>",
      "muon: for the matrices of the blocks, AdamW for the rest",
      choice(OPTIMIZERS),
    )
    .option("--lr <x>", "maximum learning rate", number)
    .option("--min-lr <x>", "final learning rate", number)
    .option(
      "--adam-scale <x>",
      "with muon: learning rate factor for the parameters that AdamW updates",
      number,
    )
    .option(
      "--schedule <cosine|wsd>",
      "learning rate schedule; wsd: constant, then a linear cool-down",
      choice(["cosine", "wsd"]),
    )
    .option("--warmup <n>", "steps of linear warm-up", integer)
    .option(
      "--cooldown <n>",
      "steps of the linear cool-down in wsd (default: 60% of all steps)",
      positive,
    )
    .option("--weight-decay <x>", "weight decay of matrices", number)
    .option("--clip <x>", "maximum global norm of the gradients", number)
    .option("--shuffle", "shuffle shards and documents in each epoch, depending on --seed")
    .option(
      "--document-borders",
      "tokens see only their own document, and not those before it in a row",
    )
    .option(
      "--on-nan <stop|skip>",
      "if the loss or gradients are not finite: save and stop, or skip the step (default: stop)",
      choice(["stop", "skip"]),
    )
    .option(
      "--spike <n>",
      "treat a loss n standard deviations above the running mean as a spike (default: off)",
      number,
    )
    .option(
      "--on-spike <skip|stop|warn>",
      "at a spike: skip the step, save and stop, or only warn (default: skip)",
      choice(["skip", "stop", "warn"]),
    )
    .option("--every <n>", "steps between validations, samples and checkpoints", positive)
    .option("--val-tokens <n>", "tokens per validation, of those held out", positive)
    .option("--hellaswag [file]", "evaluate on HellaSwag, downloaded or from a file in its format")
    .option(
      "--hellaswag-every <n>",
      "steps between evaluations on HellaSwag (default: 250)",
      positive,
    )
    .option("--samples <n>", "number of samples", integer)
    .option("--sample-length <n>", "tokens per sample", positive)
    .option("--top-k <n>", "sample from the n most likely tokens", positive)
    .option(
      "--temperature <x>",
      "sampling temperature; 0 always takes the most likely token",
      number,
    )
    .option("--keep <n>", "number of checkpoints to keep", positive)
    .option(
      "--wire <f32|f16>",
      "under mpirun: dtype in which ranks send gradients (default: that of the gradients)",
      choice(["f32", "f16"]),
    )
    .option("--diloco <n>", "train ranks independently for n steps, then average (0: off)", integer)
    .option("--shard-optimizer", "divide the optimizer state among the ranks (ZeRO stage 1)")
    .option("--profile", "print the time spent in each kernel at the end")
    .addHelpText("after", help());
}

const OPTIMIZERS = ["adamw", "muon"];

/** What stays as it is when a run goes on: the model's shape, the optimizer's state, the tokens and their order. */
const FIXED = [
  ...["recipe", "layers", "heads", "embed", "context", "dtype", "optimizer"] as const,
  ...["tokenizer", "vocabSize", "shuffle", "documentBorders"] as const,
];

/**
 * The options that a command line asks for; prints the help or what is wrong, and ends, where it must. Those of the run that
 * is resumed, `begun`, take the place of the preset's.
 */
export function parseOptions(args: string[], begun?: Partial<Options>): Options {
  const command = trainCommand();
  const given = command.parse(args, { from: "user" }).opts();
  const preset: Preset = given.preset ?? begun?.preset ?? "tiny";
  const recipe: Recipe = given.recipe ?? begun?.recipe ?? "gpt2";
  const { resume: _resume, out: _out, ...before }: Partial<Options> =
    begun && begun.preset === preset && begun.recipe === recipe ? begun : {};
  if (begun && given.dtype === "auto") given.dtype = begun.dtype;
  if (given.tokenizer === "gpt2" && given.vocabSize === undefined) given.tokenizer = undefined;
  const options: Options = {
    dtype: "f32",
    ...presetOf(preset, recipe, given.optimizer),
    ...before,
    ...given,
    preset,
    recipe,
  } as Options;
  if (
    options.batch !== undefined && given.totalBatch === undefined &&
    (given.batch ?? given.context) !== undefined
  ) {
    const micro = options.batch * options.context;
    options.totalBatch = Math.max(1, Math.round(options.totalBatch / micro)) * micro;
  }
  if (before.steps !== options.steps) shortenSchedule(options, given);
  // What is resumed is not known at first.
  const problem = begun
    ? checkResumed(options, begun) ?? check(options)
    : given.resume === undefined
    ? check(options)
    : undefined;
  if (problem) command.error(`error: ${problem}`);
  return options;
}

/** Adapts what is not given to the number of steps; a run that goes on with as many keeps what it has. */
function shortenSchedule(options: Options, given: Partial<Options>): void {
  const { steps } = options;
  // A run that was made short warms up for no more than a tenth of it.
  if (given.warmup === undefined) {
    options.warmup = Math.min(options.warmup, Math.floor(steps / 10));
  }
  // Nor does it cool down for longer than is left.
  if (given.cooldown === undefined) {
    const longest = Math.max(1, Math.min(Math.floor(0.6 * steps), steps - options.warmup));
    options.cooldown = Math.min(options.cooldown ?? longest, longest);
  }
}

function checkResumed(options: Options, begun: Partial<Options>): string | undefined {
  const flag = (value: unknown, name: string) => {
    const option = "--" + name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return value === undefined ? `no ${option}` : value === true ? option : `${option} ${value}`;
  };
  for (const name of begun.shuffle ? [...FIXED, "seed" as const] : FIXED) {
    if (options[name] === begun[name]) continue;
    const has = flag(begun[name], name);
    return `--resume: expected ${has}, as the run has it, but got ${flag(options[name], name)}`;
  }
  return undefined;
}

function check(o: Options): string | undefined {
  if (o.preset === "124m" && o.data === undefined) {
    return "--preset 124m: expected --data but got none: `deno task prepare:fineweb` writes FineWeb-Edu's ten billion tokens " +
      "to edu_fineweb10B/, then add --data edu_fineweb10B";
  }
  if (o.totalBatch % ((o.batch ?? 1) * o.context) !== 0) {
    return `--total-batch: expected a multiple of ${
      o.batch ?? 1
    } x ${o.context} tokens but got ${o.totalBatch}`;
  }
  if (o.spike === 0) return "--spike: expected a number above 0 but got 0";
  if (o.embed % o.heads !== 0) {
    return `--heads: expected a divisor of --embed ${o.embed} but got ${o.heads}`;
  }
  if (o.vocabSize !== undefined && o.tokenizer !== undefined) {
    return `--vocab-size: expected no --tokenizer, as it trains one, but got ${o.tokenizer}`;
  }
  if (o.vocabSize !== undefined && o.vocabSize < 257) {
    return `--vocab-size: expected 257 or more, 256 bytes and <|endoftext|>, but got ${o.vocabSize}`;
  }
  if (o.prompt === "") return "--prompt: expected a text but got none";
  if (o.dropout < 0 || o.dropout >= 1) {
    return `--dropout: expected a number in [0, 1) but got ${o.dropout}`;
  }
  if (o.diloco && o.dtype !== "f32") {
    return `--diloco: expected --dtype f32 but got ${o.dtype}`;
  }
  if (o.diloco && o.shardOptimizer) {
    return "--diloco: expected no --shard-optimizer, as every rank has an optimizer of its own, but got it";
  }
  if (o.recipe === "modern" && o.dropout > 0) {
    return `--dropout: expected 0 with --recipe modern but got ${o.dropout}`;
  }
  if (o.minLr > o.lr) return `--min-lr: expected at most --lr ${o.lr} but got ${o.minLr}`;
  if (o.warmup >= o.steps) {
    return `--warmup: expected fewer than ${o.steps} steps but got ${o.warmup}`;
  }
  if (o.schedule === "wsd" && o.warmup + o.cooldown! > o.steps) {
    return `--cooldown: expected at most ${o.steps - o.warmup} steps but got ${o.cooldown}`;
  }
  return undefined;
}

function help(): string {
  const rows = (Object.keys(presets) as Preset[]).map((name) => {
    const p = presetOf(name, "gpt2");
    const rates = `${p.optimizer}, lr ${p.lr}, ${p.schedule}`;
    return `  ${name.padEnd(6)} ${p.layers} layers of width ${p.embed}, ${p.heads} heads, ` +
      `context ${p.context}, ${p.steps} steps of ${
        p.totalBatch.toLocaleString("en")
      } tokens, ${rates}`;
  });
  const newer = presetOf("tiny", "modern");
  rows.push(`  with --recipe modern: ${newer.optimizer}, lr ${newer.lr}, ${newer.schedule}`);
  return `\nPresets, which set the defaults of the options above:\n${rows.join("\n")}

Examples:
  dinograd train --data book.txt --vocab-size 1024 --steps 1000 --out runs/my-run
  dinograd train --resume runs/my-run --steps 2000
  dinograd train --preset 124m --data edu_fineweb10B --hellaswag`;
}
