/** The options of `finetune`. */
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
  share,
} from "../arguments.ts";

/** All options that a run depends on. */
export interface Options extends DeviceOptions {
  model: string;
  data: string;
  val?: string;
  valSplit: number;
  /** The rank of the adapter; undefined if all weights are trained. */
  lora?: number;
  loraAlpha?: number;
  loraTargets?: string[];
  loraDropout: number;
  rslora?: boolean;
  dpo?: boolean;
  beta: number;
  pack?: boolean;
  context?: number;
  epochs: number;
  /** The number of sequences, or pairs, in a step. */
  batch: number;
  lr: number;
  warmup: number;
  weightDecay: number;
  clip: number;
  recompute?: boolean;
  dtype: "f32" | "f16";
  onNan: "skip" | "stop";
  spike?: number;
  onSpike: "skip" | "stop" | "warn";
  out?: string;
  resume?: string | true;
  saveEvery?: number;
  keep: number;
  prompt?: string;
  samples: number;
  sampleLength: number;
  topK: number;
  temperature: number;
  seed: number;
}

/** All but `lr`, which depends on what is trained. */
const DEFAULTS: Omit<Options, "model" | "data" | "lr" | "device"> = {
  valSplit: 0.1,
  loraDropout: 0,
  beta: 0.1,
  epochs: 3,
  batch: 8,
  warmup: 0.05,
  weightDecay: 0,
  clip: 1,
  dtype: "f32",
  onNan: "stop",
  onSpike: "skip",
  keep: 2,
  samples: 1,
  sampleLength: 64,
  topK: 50,
  temperature: 0.8,
  seed: 1337,
};

/** Peak learning rates: for all weights and for adapters, with examples and with pairs. */
const RATES = { all: 5e-5, lora: 2e-4, allByPairs: 1e-6, loraByPairs: 5e-6 };

/** Returns the command, for its help and for shell completion. */
export function finetuneCommand(): Command {
  const command = newCommand(`${NAME} finetune`, "Trains a model further, on your data.")
    .argument("[model]", "a model's folder, a run of train, or a model on the Hugging Face hub")
    .argument("[data]", "a text, or a .jsonl with an example a line (see below)")
    .option("--val <file>", "what to validate on, of the same kind (default: a part of the data)")
    .option("--val-split <x>", "the part of the data to validate on (default: 0.1)", share)
    .option("--lora <rank>", "train a low-rank adapter beside the weights", positive)
    .option("--lora-alpha <x>", "the adapter counts alpha / rank (default: twice the rank)", number)
    .option(
      "--lora-targets <names>",
      "layers with commas between, q_proj,v_proj (default: all)",
      list,
    )
    .option("--lora-dropout <p>", "of what goes into the adapter (default: 0)", number)
    .option("--rslora", "the adapter counts alpha / sqrt(rank)")
    .option("--dpo", "by pairs of a better and a worse answer (direct preference optimisation)")
    .option(
      "--beta <x>",
      "of --dpo: how close to stay to the model as it was (default: 0.1)",
      number,
    )
    .option("--pack", "several answers in a row where they fit; they see those before them")
    .option(
      "--context <n>",
      "tokens of a row (default: as long as the examples, or the model's)",
      positive,
    )
    .option("--epochs <n>", "times through the data (default: 3)", number)
    .option(
      "--batch <n>",
      "rows of a step, or pairs (default: 8); halved where memory is short",
      positive,
    )
    .option(
      "--lr <x>",
      `highest learning rate (default: ${RATES.all}, with --lora ${RATES.lora}; with --dpo ${RATES.allByPairs}, ` +
        `with both ${RATES.loraByPairs})`,
      number,
    )
    .option("--warmup <x>", "the part of the steps in which it rises (default: 0.05)", share)
    .option("--weight-decay <x>", "of matrices (default: 0)", number)
    .option("--clip <x>", "global norm that gradients are clipped to (default: 1)", number)
    .option("--recompute", "keep less for the backward pass and compute it anew: slower, smaller")
    .option("--dtype <f32|f16>", "f16: mixed precision (default: f32)", choice(["f32", "f16"]))
    .option(
      "--on-nan <stop|skip>",
      "where loss or gradients are not finite: stop, or leave the step out (default: stop)",
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
    .option(
      "--out <folder>",
      "the model or adapter, checkpoints, log (default: a new folder in runs/)",
    )
    .option("--resume [folder]", "go on from a run's newest checkpoint (default: the newest run)")
    .option(
      "--save-every <n>",
      "steps between validation, samples and checkpoints (default: an epoch, or a tenth of them all)",
      positive,
    )
    .option("--keep <n>", "checkpoints to keep (default: 2)", positive)
    .option("--prompt <text>", "what samples continue (default: the first example held out)")
    .option("--samples <n>", "samples to draw (default: 1)", integer)
    .option("--sample-length <n>", "tokens of a sample (default: 64)", positive)
    .option(
      "--top-k <n>",
      "samples are drawn from so many likeliest tokens (default: 50)",
      positive,
    )
    .option("--temperature <x>", "of samples; 0: always the likeliest token (default: 0.8)", number)
    .option("--seed <n>", "of the order, of dropout and samples (default: 1337)", integer);
  return addDeviceOptions(command).addHelpText(
    "after",
    `
A .jsonl has lines of one kind; of answers the prompts are only read:
  {"text": "..."}
  {"prompt": "...", "completion": "..."}
  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
  {"prompt": "...", "chosen": "...", "rejected": "..."}                                  (--dpo)

Examples:
  dinograd finetune runs/my-run sonnets.txt --lora 8
  dinograd finetune openai-community/gpt2 chats.jsonl --lora 16 --epochs 2 --out my-adapter
  dinograd generate my-adapter "User: Hello
Assistant:"`,
  );
}

/** Options that stay the same when a run is resumed: the model, the data and how it becomes rows. */
const FIXED = [
  ...["model", "data", "val", "valSplit", "lora", "loraAlpha", "loraTargets", "rslora"] as const,
  ...["dpo", "pack", "context", "dtype", "seed"] as const,
];

/**
 * Parses a command line; prints the help or an error and exits, if need be. `begun` are the options of the run that is
 * resumed.
 */
export function parseOptions(args: string[], begun?: Partial<Options>): Options {
  const command = finetuneCommand();
  const given: Partial<Options> = command.parse(args, { from: "user" }).opts();
  const [model, data] = command.args;
  if (model !== undefined) given.model = model;
  if (data !== undefined) given.data = data;
  const { resume: _resume, out: _out, ...before }: Partial<Options> = begun ?? {};
  const options = { device: "auto", ...DEFAULTS, ...before, ...given } as Options;
  const { lora, dpo } = options;
  options.lr ??= dpo
    ? (lora ? RATES.loraByPairs : RATES.allByPairs)
    : (lora ? RATES.lora : RATES.all);
  const problem = begun
    ? checkResumed(options, begun) ?? check(options)
    : options.resume === undefined
    ? check(options)
    : undefined;
  if (problem) command.error(`error: ${problem}`);
  return options;
}

function checkResumed(options: Options, begun: Partial<Options>): string | undefined {
  for (const name of FIXED) {
    if (JSON.stringify(options[name]) === JSON.stringify(begun[name])) continue;
    const own = begun[name] ?? "none";
    return `${flag(name)}: expected that of the run that is resumed, ${own}, but got ${
      options[name]
    }`;
  }
  return undefined;
}

function check(o: Options): string | undefined {
  if (o.model === undefined) return "missing argument 'model'";
  if (o.data === undefined) return "missing argument 'data'";
  const ofLoRA = ["loraAlpha", "loraTargets", "rslora"] as const;
  const name = ofLoRA.find((name) => o[name] !== undefined);
  if (o.lora === undefined && name) {
    return `${flag(name)}: expected --lora with the rank of an adapter but got none`;
  }
  if (o.loraDropout >= 1) {
    return `--lora-dropout: expected a number in [0, 1) but got ${o.loraDropout}`;
  }
  for (const name of ["epochs", "beta", "spike"] as const) {
    if (o[name] === 0) return `${flag(name)}: expected a number above 0 but got 0`;
  }
  if (o.val === undefined && (o.valSplit === 0 || o.valSplit === 1)) {
    return `--val-split: expected a number between 0 and 1 but got ${o.valSplit}`;
  }
  if (o.dpo && o.pack) return "--pack: expected answers but got pairs";
  if (o.prompt === "") return "--prompt: expected a text but got none";
  return undefined;
}

function flag(name: string): string {
  return "--" + name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function list(text: string): string[] {
  return text.split(",").map((part) => part.trim()).filter(Boolean);
}
