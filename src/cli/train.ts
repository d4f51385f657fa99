/** `dinograd train`: trains GPT-2, as https://github.com/karpathy/build-nanogpt does, or by newer recipes. */
import {
  batchSizeWarmup,
  type Device,
  fittingBatch,
  GPT2Tokenizer,
  TokenLoader,
  warmupCosine,
  warmupStableDecay,
  WebGpuDevice,
} from "../../mod.ts";
import { openChosenDevice } from "./open_device.ts";
import { Checks, isMilestone, validationBatches } from "./train/checks.ts";
import { type Corpus, openCorpus } from "./train/corpus.ts";
import { newFolder, openResumed } from "./train/folder.ts";
import { finishRun } from "./train/loop.ts";
import { MODEL_NAMES, sizesOf } from "./train/model.ts";
import { type Options, parseOptions, RECIPES } from "./train/options.ts";
import { Report, type StepPlan } from "./train/report.ts";
import { pretraining } from "./train/task.ts";
import { Training } from "./train/training.ts";

/** Trains as the command line `args` says. */
export async function train(args: string[]): Promise<void> {
  const asked = parseOptions(args);
  const resumed = await openResumed<Options>(RECIPES, asked);
  const options = resumed ? parseOptions(args, resumed.options) : asked;
  const device = await openChosenDevice(options);
  const tokenizer = new GPT2Tokenizer();
  const corpus = await openCorpus(options.data, tokenizer);
  using folder = resumed?.folder ?? await newFolder(`${options.recipe}-${options.preset}`, options);

  const dtype = options.dtype === "auto" ? fasterDtype(device) : options.dtype;
  const { recompute, steps, profile } = options;
  const sequences = options.totalBatch / options.context;
  const batch = options.batch ??
    await fittingBatch(device, sizesOf(options), { sequences, recompute, dtype });
  const separator = tokenizer.endOfText;
  const chosen = { ...options, dtype };
  await using training = await Training.open({
    ...{ options: chosen, device, dtype, batch },
    task: (random) =>
      pretraining({ options, device, dtype, data: corpus.train, separator }, random),
    checkpoint: resumed?.checkpoint,
  });
  const { task } = training;
  const title = `${MODEL_NAMES[options.recipe]}, ${options.preset}: ${device.description}`;
  using report = await Report.open(folder.path, title, training.step, resumed?.curves);
  await using checks = await Checks.open({
    ...{ task, tokenizer, options, report },
    validation: await openValidation(corpus.validation, options, batch),
    prompt: { ids: tokenizer.encodeOrdinary(options.prompt), text: options.prompt },
  });
  const count = (n: number) => n.toLocaleString("en");
  report.begin([
    corpus.description,
    `${MODEL_NAMES[options.recipe]} with ${
      count(task.model.parameterCount())
    } parameters in ${dtype} on ` +
    `${device.description}; ${steps} steps of ${count(options.totalBatch)} tokens, ` +
    `${count(options.valTokens)} to validate` +
    (options.batch === undefined ? `, ${batch} sequences at a time` : ""),
  ], resumed?.checkpoint);
  await finishRun({
    ...{ device, training, checks, report, steps, profile },
    plan: planOf(options, batch),
    isMilestone: (step) => isMilestone(step, options),
  });
}

async function openValidation(
  data: Corpus["validation"],
  { valTokens, context: contextSize, vocab: vocabSize }: Options,
  batch: number,
): Promise<{ loader: TokenLoader; batches: number }> {
  const { batchSize, batches } = validationBatches(valTokens, contextSize, batch);
  return { loader: await TokenLoader.open(data, { batchSize, contextSize, vocabSize }), batches };
}

/** The learning rate and the size of every step, counted from 1. */
function planOf(options: Options, microBatch: number): (step: number) => StepPlan {
  const { minLr, steps: totalSteps, warmup: warmupSteps, batchWarmup } = options;
  const shared = { maxLr: options.lr, minLr, warmupSteps, totalSteps };
  const lr = options.schedule === "cosine"
    ? warmupCosine(shared)
    : warmupStableDecay({ ...shared, decaySteps: options.cooldown! });
  const sequences = batchSizeWarmup({
    batchSize: options.totalBatch / options.context,
    initialBatchSize: microBatch,
    warmupSteps: batchWarmup,
    multipleOf: microBatch,
  });
  return (step) => ({ lr: lr(step), sequences: sequences(step) });
}

/** f16 on a GPU that has it; a software adapter only emulates it. */
function fasterDtype(device: Device): "f16" | "f32" {
  const isGpu = device instanceof WebGpuDevice && !device.software;
  return isGpu && device.dtypes.has("f16") ? "f16" : "f32";
}
