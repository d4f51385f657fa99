/**
 * The recipes of `reproduce_gpt` side by side on Moby Dick, and of `modern` each part switched off once: the same text, the same
 * tokens, several seeds. Writes the table of docs/RECIPES.md.
 *
 *     deno task recipes                      # minutes on two CPU cores: proves the command, and little else
 *     deno task recipes --full               # 7.5 million parameters, 2 million tokens: days on two cores, for a GPU
 *     deno task recipes --compare --full     # both recipes tuned, then `modern` with a quarter of the tokens: an hour on two cores
 *
 * `--only <name,name>` takes some of the variants, and then writes no table; `--steps`, `--seeds`, `--device` change a number.
 */
import {
  AdamW,
  assign,
  batchTensors,
  BytePairTokenizer,
  clipGradNorm,
  type Device,
  GPT2,
  type GPT2Config,
  init,
  loadMobyDick,
  ModernGPT,
  type ModernGPTConfig,
  Muon,
  openDevice,
  RandomState,
  type Schedule,
  Scope,
  TokenLoader,
  validationLoss,
  warmupCosine,
  warmupStableDecay,
} from "../mod.ts";
import { parseArgs } from "node:util";

/** What is trained, and how long. */
interface Size {
  readonly layers: number;
  readonly heads: number;
  readonly embed: number;
  readonly context: number;
  readonly batch: number;
  readonly steps: number;
  readonly merges: number;
}

const SMALL: Size = {
  ...{ layers: 2, heads: 2, embed: 48, context: 64, batch: 4, steps: 240, merges: 256 },
};
/** GPT-2 of 7.5 million parameters, 2,097,152 tokens. */
const FULL: Size = {
  ...{ layers: 8, heads: 8, embed: 272, context: 256, batch: 16, steps: 512, merges: 768 },
};

/** A recipe, or one with a part switched off. */
interface Variant {
  readonly name: string;
  /** What `ModernGPT` is told; GPT-2 where it is left out. */
  readonly parts?: Partial<ModernGPTConfig>;
  readonly optimizer: "muon" | "adamw";
  readonly schedule: "wsd" | "cosine";
  /** Whether maps into the residual stream start as GPT-2's do, and not at 0. */
  readonly startsLoud?: boolean;
  /** Share of the steps. Default: 1. */
  readonly share?: number;
  /** The highest rate. Default: that of `RATES`. */
  readonly rate?: number;
}

const modern = { parts: {}, optimizer: "muon", schedule: "wsd" } as const;
const VARIANTS: readonly Variant[] = [
  { name: "gpt2", optimizer: "adamw", schedule: "cosine" },
  { name: "gpt2 with Muon", optimizer: "muon", schedule: "wsd" },
  { ...modern, name: "modern" },
  { ...modern, name: "modern, 40 % of the tokens", share: 0.4 },
  { ...modern, name: "AdamW for Muon", optimizer: "adamw" },
  { ...modern, name: "cosine for WSD", schedule: "cosine" },
  { ...modern, name: "no rotary positions", parts: { ropeTheta: null } },
  { ...modern, name: "no QK-norm", parts: { qkNorm: false } },
  { ...modern, name: "GELU for ReLU²", parts: { hiddenAct: "gelu_pytorch_tanh" } },
  { ...modern, name: "projections that start as GPT-2's", startsLoud: true },
  { ...modern, name: "tied head", parts: { tieWordEmbeddings: true } },
  { ...modern, name: "no cap on the logits", parts: { finalLogitSoftcapping: null } },
  { ...modern, name: "with value embeddings", parts: { valueEmbeddings: true } },
];

/** Highest rates of Muon and of AdamW alone. */
const RATES = { muon: 0.02, adamw: 4e-3 };
/** Those that `--compare` tries, with an eighth of the steps each. */
const TRIED = { muon: [0.01, 0.02, 0.04], adamw: [5e-4, 1e-3, 2e-3] };
/** The results of finished trainings: the same command goes on here after an interruption. */
const FINISHED = "runs/recipes.json";
/** The rate of AdamW beside Muon, as a factor of Muon's. */
const BESIDE = 0.2;

/** The text as tokens. */
interface Text {
  readonly train: Uint16Array;
  readonly validation: Uint16Array;
  readonly vocabSize: number;
}

/** What became of a run. */
interface Result {
  readonly loss: number;
  readonly parameters: number;
}

async function readText(merges: number): Promise<Text> {
  const text = await loadMobyDick();
  const cut = Math.floor(text.length * 0.9);
  const tokenizer = BytePairTokenizer.train(text.slice(0, cut), { merges });
  return {
    train: Uint16Array.from(tokenizer.encode(text.slice(0, cut))),
    validation: Uint16Array.from(tokenizer.encode(text.slice(cut))),
    vocabSize: Math.ceil(tokenizer.vocabSize / 64) * 64,
  };
}

async function createModel(
  variant: Variant,
  { vocabSize }: Text,
  size: Size,
  place: Place,
): Promise<GPT2 | ModernGPT> {
  const sizes: GPT2Config = {
    ...{ vocabSize, maxPositionEmbeddings: size.context, hiddenSize: size.embed },
    ...{ numHiddenLayers: size.layers, numAttentionHeads: size.heads },
  };
  if (!variant.parts) return new GPT2(sizes, place);
  const model = new ModernGPT({ ...sizes, ...variant.parts }, place);
  if (variant.startsLoud) {
    const start = init.normal(1 / Math.sqrt(2 * size.layers * size.embed));
    for (const [name, parameter] of model.parameters()) {
      if (!name.includes("c_proj")) continue;
      using values = start(parameter.shape, { ...place, dtype: "f32" });
      assign(parameter, await values.data());
    }
  }
  return model;
}

interface Place {
  readonly device: Device;
  readonly random: RandomState;
}

function createOptimizer({ optimizer }: Variant, model: GPT2 | ModernGPT): Muon | AdamW {
  const adamW = { betas: [0.9, 0.95] as const, weightDecay: 0.1 };
  if (optimizer === "adamw") return new AdamW(model.parameters(), adamW);
  return new Muon(model.parameters(), {
    weightDecay: 0.1,
    adamW: { ...adamW, lrScale: BESIDE },
  });
}

function scheduleOf(variant: Variant, totalSteps: number): Schedule {
  const { schedule } = variant;
  const maxLr = variant.rate ?? RATES[variant.optimizer];
  const stages = { maxLr, warmupSteps: Math.ceil(totalSteps / 20), totalSteps };
  return schedule === "cosine"
    ? warmupCosine({ ...stages, minLr: maxLr / 10 })
    : warmupStableDecay({ ...stages, decaySteps: Math.ceil(totalSteps * 0.5) });
}

async function trained(variant: Variant, text: Text, size: Size, place: Place): Promise<Result> {
  const { device } = place;
  const model = await createModel(variant, text, size, place);
  using optimizer = createOptimizer(variant, model);
  const shape = [size.batch, size.context] as const;
  const sizes = { batchSize: size.batch, contextSize: size.context };
  const loader = await TokenLoader.open(text.train, sizes);
  const validation = await TokenLoader.open(text.validation, sizes);
  const steps = Math.round(size.steps * (variant.share ?? 1));
  const lr = scheduleOf(variant, steps);
  for (let step = 1; step <= steps; step++) {
    using _scope = new Scope();
    const { ids, targets } = batchTensors(await loader.next(), shape, device);
    const loss = model.loss(ids, targets);
    loss.backward();
    if (step % 16 === 0) {
      console.error(
        `${variant.name}: step ${step} of ${steps}, loss ${(await loss.item()).toFixed(3)}`,
      );
    }
    const { factor } = clipGradNorm(model.parameters(), 1);
    optimizer.step({ lr: lr(step), gradScale: factor });
    optimizer.zeroGrad();
  }
  const batches = Math.floor((text.validation.length - 1) / (size.batch * size.context));
  const loss = await validationLoss(model, validation, batches * size.batch, device);
  const parameters = model.parameterCount();
  model.dispose();
  return { loss, parameters };
}

function row(variant: Variant, results: readonly Result[], reference: number): string {
  const losses = results.map(({ loss }) => loss);
  const mean = meanOf(losses);
  const spread = Math.sqrt(
    losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / Math.max(1, losses.length - 1),
  );
  const difference = mean - reference;
  return "| " + [
    variant.name,
    results[0]!.parameters.toLocaleString("en"),
    `${mean.toFixed(3)} ± ${spread.toFixed(3)}`,
    `${difference < 0 ? "−" : "+"}${Math.abs(difference).toFixed(3)}`,
  ].join(" | ") + " |";
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Puts the lines between the two marks of a table in docs/RECIPES.md. */
async function writeTable(name: "parts" | "comparison", lines: readonly string[]): Promise<void> {
  const page = new URL("../docs/RECIPES.md", import.meta.url);
  const [begin, end] = [
    `<!-- bench/recipes.ts writes ${name} from here -->`,
    `<!-- ${name} to here -->`,
  ];
  const before = await Deno.readTextFile(page);
  const [head, tail] = [before.split(begin)[0]!, before.split(end)[1]!];
  await Deno.writeTextFile(page, [head + begin, "", ...lines, "", end + tail].join("\n"));
}

const { values: given } = parseArgs({
  args: Deno.args,
  options: {
    full: { type: "boolean", default: false },
    compare: { type: "boolean", default: false },
    only: { type: "string" },
    steps: { type: "string" },
    seeds: { type: "string", default: "3" },
    device: { type: "string", default: "auto" },
  },
});
const size = { ...given.full ? FULL : SMALL };
const chosen = { ...size, steps: Number(given.steps ?? size.steps) };
const seeds = Number(given.seeds);
const device = await openDevice(given.device === "auto" ? {} : { kind: given.device as "cpu" });
const text = await readText(chosen.merges);
await Deno.mkdir("runs", { recursive: true });
const finished: Record<string, Result> = JSON.parse(
  await Deno.readTextFile(FINISHED).catch(() => "{}"),
);
if (given.compare) await compare();
else await switchOff();
device.close();

/** What `trained` gives, out of `FINISHED` where it is there. */
async function run(variant: Variant, seed: number): Promise<Result> {
  const key = JSON.stringify({ ...chosen, ...variant, seed, device: device.kind });
  finished[key] ??= await trained(variant, text, chosen, {
    device,
    random: new RandomState(seed),
  });
  await Deno.writeTextFile(FINISHED, JSON.stringify(finished, null, 2));
  return finished[key];
}

/** What was trained, on what. */
function heading(): string {
  const { layers, heads, embed, context, batch, steps } = chosen;
  const tokens = (steps * batch * context).toLocaleString("en");
  return `${layers} layers of ${embed}, ${heads} heads, ${steps} steps of ${batch} x ${context} tokens ` +
    `(${tokens}) of Moby Dick, ${text.vocabSize} byte pair ids, on ${device.description}, ` +
    `${new Date().toISOString().slice(0, 10)}`;
}

/** Every variant with several seeds. */
async function switchOff(): Promise<void> {
  const only = given.only?.split(",");
  const variants = VARIANTS.filter(({ name }) => !only || only.includes(name));
  const results = new Map<Variant, Result[]>();
  for (let seed = 1; seed <= seeds; seed++) {
    for (const variant of variants) {
      const result = await run(variant, seed);
      results.set(variant, [...results.get(variant) ?? [], result]);
      console.log(`seed ${seed}, ${variant.name}: validation loss ${result.loss.toFixed(4)}`);
    }
  }
  const whole = variants.find(({ name }) => name === "modern") ?? variants[0]!;
  const reference = meanOf(results.get(whole)!.map(({ loss }) => loss));
  const lines = [
    `${heading()}, ${seeds} seeds:`,
    "",
    `| | parameters | validation loss | against ${whole.name} |`,
    "| --- | ---: | ---: | ---: |",
    ...[...results].map(([variant, all]) => row(variant, all, reference)),
  ];
  console.log(lines.join("\n"));
  if (!only) await writeTable("parts", lines);
}

/** `gpt2` with all tokens and `modern` with a quarter of them, each at the best of three rates. */
async function compare(): Promise<void> {
  const lines = [
    `${heading()}; rates were tried with an eighth of the steps:`,
    "",
    "| | parameters | highest rate | share of the tokens | validation loss |",
    "| --- | ---: | ---: | ---: | ---: |",
  ];
  for (const [name, share] of [["gpt2", 1], ["modern", 0.25]] as const) {
    const recipe = VARIANTS.find((variant) => variant.name === name)!;
    let best = { rate: 0, loss: Infinity };
    for (const rate of [...TRIED[recipe.optimizer], undefined]) {
      const variant = { ...recipe, rate: rate ?? best.rate, share: rate ? 0.125 : share };
      const { loss, parameters } = await run(variant, 1);
      if (rate && loss < best.loss) best = { rate, loss };
      const cells = [name, parameters.toLocaleString("en"), variant.rate];
      const line = `| ${cells.join(" | ")} | ${variant.share * 100} % | ${loss.toFixed(3)} |`;
      console.log(line);
      lines.push(line);
    }
  }
  await writeTable("comparison", lines);
}
