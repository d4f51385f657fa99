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
  /** Default: GPT-2's. */
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
  const command = newCommand(`${NAME} train`, "Trains GPT-2, or by a newer recipe, from scratch.")
    .option(
      "--preset <tiny|small|124m>",
      "sizes and schedule to start from",
      choice(Object.keys(presets)),
    )
    .option(
      "--recipe <gpt2|modern>",
      "GPT-2, or a newer model and schedule that learn from fewer tokens (default: gpt2)",
      choice(RECIPES),
    );
  return addDeviceOptions(command, "auto")
    .option(
      "--dtype <f32|f16|auto>",
      "f16: mixed precision; auto: on GPUs that have it (default: f32, for 124m auto)",
      choice(["f32", "f16", "auto"]),
    )
    .option(
      "--data <path>",
      "a text, or a folder of token shards such as edufineweb_train_000001.npy (default: Moby Dick; 124m has none)",
    )
    .option("--tokenizer <name>", `of the text or the shards: ${TOKENIZER} (default: gpt2)`)
    .option(
      "--vocab-size <n>",
      "train a byte pair tokenizer of n ids on the text, and use it",
      positive,
    )
    .option("--out <folder>", "checkpoints, log and pictures (default: a new folder in runs/)")
    .option("--resume [folder]", "go on from a run's newest checkpoint (default: the newest run)")
    .option("--prompt <text>", "what the samples continue (default: words of the text)")
    .option("--seed <n>", "of weights, dropout and samples", integer)
    .option("--layers <n>", "transformer blocks", positive)
    .option("--heads <n>", "attention heads", positive)
    .option("--embed <n>", "width", positive)
    .option("--context <n>", "tokens of a sequence", positive)
    .option("--dropout <p>", "probability", number)
    .option("--batch <n>", "sequences of a micro-batch (124m: as many as fit)", positive)
    .option("--recompute", "keep less for the backward pass and compute it anew: slower, smaller")
    .option("--total-batch <n>", "tokens of a step; a multiple of batch x context", positive)
    .option("--steps <n>", "optimizer steps", positive)
    .option("--batch-warmup <n>", "steps in which the batch grows from a micro-batch", integer)
    .option("--optimizer <adamw|muon>", "muon: for the matrices of blocks", choice(OPTIMIZERS))
    .option("--lr <x>", "highest learning rate", number)
    .option("--min-lr <x>", "last learning rate", number)
    .option("--adam-scale <x>", "factor of the rate for what muon leaves to AdamW", number)
    .option(
      "--schedule <cosine|wsd>",
      "how the rate falls; wsd: it stays, then cools down in a line",
      choice(["cosine", "wsd"]),
    )
    .option("--warmup <n>", "steps of linear warm-up", integer)
    .option("--cooldown <n>", "steps of wsd's cool-down (default: 60 % of the steps)", positive)
    .option("--weight-decay <x>", "of matrices", number)
    .option("--clip <x>", "global norm that gradients are clipped to", number)
    .option("--shuffle", "take shards and documents in another order in every epoch, by --seed")
    .option(
      "--on-nan <stop|skip>",
      "where loss or gradients are not finite: save and stop, or leave the step out",
      choice(["stop", "skip"]),
    )
    .option(
      "--spike <n>",
      "a loss this many standard deviations above the running mean is a spike (default: none is)",
      number,
    )
    .option(
      "--on-spike <skip|stop|warn>",
      "leave its step out, save and stop, or go on (default: skip)",
      choice(["skip", "stop", "warn"]),
    )
    .option("--every <n>", "steps between validation, samples and checkpoints", positive)
    .option("--val-tokens <n>", "tokens of a validation", positive)
    .option("--hellaswag [file]", "score HellaSwag, downloaded or from a file of its format")
    .option("--hellaswag-every <n>", "steps between two scores (default: 250)", positive)
    .option("--samples <n>", "samples to draw", integer)
    .option("--sample-length <n>", "tokens of a sample", positive)
    .option("--top-k <n>", "samples are drawn from so many likeliest tokens", positive)
    .option("--temperature <x>", "of samples; 0: always the likeliest token", number)
    .option("--keep <n>", "checkpoints to keep", positive)
    .option(
      "--wire <f32|f16>",
      "as which type ranks of an mpirun send their gradients (default: as they are)",
      choice(["f32", "f16"]),
    )
    .option("--diloco <n>", "ranks train apart for n steps, then average (0: off)", integer)
    .option("--shard-optimizer", "each rank keeps a part of the optimizer's state (ZeRO stage 1)")
    .option("--profile", "print the time spent in every kernel at the end")
    .addHelpText("after", help());
}

const OPTIMIZERS = ["adamw", "muon"];

/** What stays as it is when a run goes on: the model's shape, the optimizer's state, the tokens and their order. */
const FIXED = [
  ...["recipe", "layers", "heads", "embed", "context", "dtype", "optimizer"] as const,
  ...["tokenizer", "vocabSize", "shuffle"] as const,
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
  if (given.tokenizer === "gpt2") given.tokenizer = undefined;
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
  // A run that was made short warms up for no more than a tenth of it.
  if (given.warmup === undefined) {
    options.warmup = Math.min(options.warmup, Math.floor(options.steps / 10));
  }
  // Nor does it cool down for longer than is left.
  if (given.cooldown === undefined) {
    const { steps, warmup } = options;
    const longest = Math.max(1, Math.min(Math.floor(0.6 * steps), steps - warmup));
    options.cooldown = Math.min(options.cooldown ?? longest, longest);
  }
  // What is resumed is not known at first.
  const problem = begun
    ? checkResumed(options, begun) ?? check(options)
    : given.resume === undefined
    ? check(options)
    : undefined;
  if (problem) command.error(`error: ${problem}`);
  return options;
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
    return `  ${name.padEnd(6)} ${p.layers} layers of ${p.embed}, ${p.heads} heads, ` +
      `context ${p.context}, ${p.steps} steps of ${
        p.totalBatch.toLocaleString("en")
      } tokens, ${rates}`;
  });
  const newer = presetOf("tiny", "modern");
  rows.push(`  with --recipe modern: ${newer.optimizer}, lr ${newer.lr}, ${newer.schedule}`);
  return `\nPresets:\n${rows.join("\n")}`;
}
