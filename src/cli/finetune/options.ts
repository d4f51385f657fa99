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
  /** Whether several examples share a row. */
  pack: boolean;
  context?: number;
  epochs: number;
  /** The number of examples, or pairs, in a step; if they are packed, on average. */
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
  pack: true,
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
  const command = newCommand(`${NAME} finetune`, "fine-tune a model on your own data")
    .argument("[model]", "a model's folder, a run of train, or a name on the Hugging Face hub")
    .argument("[data]", "text file, or .jsonl file with one example per line (see below)")
    .option("--val <file>", "validation data of the same kind (default: a part of the data)")
    .option("--val-split <x>", "part of the data held out for validation (default: 0.1)", share)
    .option("--lora <rank>", "train a low-rank adapter (LoRA) instead of all weights", positive)
    .option(
      "--lora-alpha <x>",
      "scale the adapter by alpha / rank (default: twice the rank)",
      number,
    )
    .option(
      "--lora-targets <names>",
      "comma-separated layers, such as q_proj,v_proj (default: all)",
      list,
    )
    .option("--lora-dropout <p>", "dropout on the input of the adapter (default: 0)", number)
    .option("--rslora", "scale the adapter by alpha / sqrt(rank)")
    .option(
      "--dpo",
      "train on pairs of a better and a worse answer (direct preference optimisation)",
    )
    .option(
      "--beta <x>",
      "with --dpo: how close to stay to the original model (default: 0.1)",
      number,
    )
    .option(
      "--no-pack",
      "give each example a row of its own (default: rows hold several, which do not see each other)",
    )
    .option(
      "--context <n>",
      "tokens per row (default: up to twice the longest answer, or the model's context)",
      positive,
    )
    .option("--epochs <n>", "passes over the data (default: 3)", number)
    .option(
      "--batch <n>",
      "examples per step (default: 8); split into micro-batches if memory is short",
      positive,
    )
    .option(
      "--lr <x>",
      `maximum learning rate (default: ${RATES.all}; with --lora ${RATES.lora}; with --dpo ${RATES.allByPairs}, ` +
        `with both ${RATES.loraByPairs})`,
      number,
    )
    .option("--warmup <x>", "part of the steps with linear warm-up (default: 0.05)", share)
    .option("--weight-decay <x>", "weight decay of matrices (default: 0)", number)
    .option("--clip <x>", "maximum global norm of the gradients (default: 1)", number)
    .option("--recompute", "recompute activations in the backward pass: slower, but less memory")
    .option("--dtype <f32|f16>", "f16: mixed precision (default: f32)", choice(["f32", "f16"]))
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
    .option(
      "--out <folder>",
      "folder for the model or adapter, checkpoints and log (default: a new one in runs/)",
    )
    .option("--resume [folder]", "resume from a run's newest checkpoint (default: the newest run)")
    .option(
      "--save-every <n>",
      "steps between validations, samples and checkpoints (default: an epoch, at least a tenth of all steps)",
      positive,
    )
    .option("--keep <n>", "number of checkpoints to keep (default: 2)", positive)
    .option("--prompt <text>", "prompt for the samples (default: the first held-out example)")
    .option("--samples <n>", "number of samples (default: 1)", integer)
    .option("--sample-length <n>", "tokens per sample (default: 64)", positive)
    .option(
      "--top-k <n>",
      "sample from the n most likely tokens (default: 50)",
      positive,
    )
    .option(
      "--temperature <x>",
      "sampling temperature; 0 always takes the most likely token (default: 0.8)",
      number,
    )
    .option(
      "--seed <n>",
      "random seed for the order, dropout and samples (default: 1337)",
      integer,
    );
  return addDeviceOptions(command).addHelpText(
    "after",
    `
Lines of a .jsonl, all of one kind; prompts are read but not trained on:
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
  // commander sets the default of --no-pack, which must not replace that of a resumed run.
  if (given.pack) delete given.pack;
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
  if (o.prompt === "") return "--prompt: expected a text but got none";
  return undefined;
}

function flag(name: string): string {
  return "--" + name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function list(text: string): string[] {
  return text.split(",").map((part) => part.trim()).filter(Boolean);
}
