/** `dinograd train`: trains GPT-2, as https://github.com/karpathy/build-nanogpt does, or by newer recipes. */
import {
  batchSizeWarmup,
  type Communicator,
  type Device,
  fittingBatch,
  formatBytes,
  openCommunicator,
  shareJson,
  shareOf,
  TokenLoader,
  warmupCosine,
  warmupStableDecay,
  WebGpuDevice,
} from "../../mod.ts";
import { UsageError } from "./failures.ts";
import { openChosenDevice } from "./open_device.ts";
import { Checks, isMilestone } from "./train/checks.ts";
import { type Corpus, openCorpus } from "./train/corpus.ts";
import { newFolder, openResumed } from "./train/folder.ts";
import { finishRun, isShared } from "./train/loop.ts";
import { MODEL_NAMES, type ModelOptions, paddedVocabSize, sizesOf } from "./train/model.ts";
import { type Options, parseOptions, RECIPES } from "./train/options.ts";
import { Report, type StepPlan } from "./train/report.ts";
import { pretraining } from "./train/task.ts";
import { Training } from "./train/training.ts";

/** Trains as the command line `args` says; under `mpirun` on all its ranks together. */
export async function train(args: string[]): Promise<void> {
  const asked = parseOptions(args);
  await using communicator = await openCommunicator();
  const { rank, size } = communicator;
  try {
    await trainOn(communicator, asked, args);
  } catch (error) {
    const { message, cause } = error as Error;
    if (size > 1 && !isShared(cause)) await communicator.abort(message);
    if (rank === 0) throw error;
  }
}

async function trainOn(
  communicator: Communicator,
  asked: Options,
  args: string[],
): Promise<void> {
  const isFirst = communicator.rank === 0;
  const resumed = isFirst ? await openResumed<Options>(RECIPES, asked) : undefined;
  const options = await shareJson(
    communicator,
    resumed ? parseOptions(args, resumed.options) : asked,
  );
  checkRanks(options, communicator);
  const device = await openChosenDevice(options, communicator);
  const corpus = await openCorpus(options, resumed?.folder.path, communicator);
  const { tokenizer } = corpus;
  using folder = isFirst
    ? resumed?.folder ?? await newFolder(`${options.recipe}-${options.preset}`, options)
    : undefined;
  if (folder) await tokenizer.save(`${folder.path}/tokenizer.json`);
  const path = await shareJson(communicator, folder?.path ?? "");

  const dtype = await shareJson(
    communicator,
    options.dtype === "auto" ? fasterDtype(device) : options.dtype,
  );
  const chosen = { ...options, dtype, vocab: paddedVocabSize(tokenizer.vocabSize) };
  const batch = options.batch ?? await chooseBatch(device, chosen, dtype, communicator);
  await using training = await Training.open({
    ...{ options: chosen, device, dtype, batch, communicator },
    mayHalve: options.batch === undefined,
    task: (random) => pretraining({ options: chosen, device, dtype, corpus }, random),
    checkpoint: resumed?.checkpoint,
  });
  const { task } = training;
  const title = `${MODEL_NAMES[options.recipe]}, ${options.preset}: ${device.description}`;
  using report = isFirst
    ? await Report.open(path, title, training.step, resumed?.curves)
    : Report.silent(path);
  const { prompt = corpus.prompt } = options;
  const validation = await openValidation(corpus, chosen, batch);
  await using checks = await Checks.open({
    ...{ task, tokenizer, options, report, communicator, validation },
    prompt: { ids: tokenizer.encodeOrdinary(prompt), text: prompt },
  });
  report.begin(
    [
      ...corpus.description,
      ...await describe(options, validation.rows, training, device, dtype, batch, communicator),
    ],
    resumed?.checkpoint,
  );
  const { steps, profile } = options;
  await finishRun({
    ...{ device, training, checks, report, communicator, steps, profile },
    plan: planOf(options, training.loader.batchSize, communicator.size),
    isMilestone: (step) => isMilestone(step, options),
  });
}

/** Throws if there are more ranks than sequences in a step. */
function checkRanks({ totalBatch, context }: Options, { size }: Communicator): void {
  if (totalBatch >= size * context) return;
  throw new Error(
    `--total-batch: expected a sequence of ${context} tokens for each of ${size} ranks but got ` +
      totalBatch,
  );
}

/** Lines that say what is trained, and on what. */
async function describe(
  options: Options,
  validationRows: number,
  { task, stateBytes }: Training,
  device: Device,
  dtype: "f32" | "f16",
  batch: number,
  communicator: Communicator,
): Promise<string[]> {
  const count = (n: number) => n.toLocaleString("en");
  const lines = [
    `${MODEL_NAMES[options.recipe]} with ${
      count(task.model.parameterCount())
    } parameters in ${dtype} on ` +
    `${device.description}; ${options.steps} steps of ${count(options.totalBatch)} tokens, ` +
    `validation on ${count(validationRows * options.context)}` +
    (options.batch === undefined ? `; micro-batches of ${batch} sequences` : ""),
  ];
  const processes = await communicator.gather(Float64Array.of(Deno.pid));
  if (communicator.size > 1) {
    const ranks = [...processes].map((process, rank) =>
      `rank ${rank} is process ${process} on ${communicator.hosts[rank]}`
    );
    lines.push(`${communicator.description}: ${ranks.join(", ")}`);
  }
  if (options.shardOptimizer) {
    const bytes = await communicator.gather(Float64Array.of(stateBytes));
    const all = formatBytes(bytes.reduce((sum, some) => sum + some, 0));
    lines.push(
      `optimizer state: at most ${formatBytes(Math.max(...bytes))} per rank, ${all} in total`,
    );
  }
  return lines;
}

/** Opens the data to validate on, and returns the number of rows that are asked for or, if it has fewer, all. */
async function openValidation(
  { validation, separator }: Corpus,
  { data, valTokens, context: contextSize, vocab: vocabSize, documentBorders }:
    & Options
    & ModelOptions,
  batchSize: number,
): Promise<{ loader: TokenLoader; rows: number }> {
  const loader = await TokenLoader.open(validation, {
    ...{ batchSize, contextSize, vocabSize },
    documentSeparator: documentBorders ? separator : undefined,
  });
  const whole = Math.floor((loader.corpusTokens - 1) / contextSize); // the last target is a token, too
  if (whole === 0) {
    throw new UsageError(
      `--data: expected more than ${contextSize} tokens for validation but got ` +
        `${loader.corpusTokens} in ${data}`,
    );
  }
  return { loader, rows: Math.min(Math.ceil(valTokens / contextSize), whole) };
}

/** Sequences of a micro-batch, where the command line names none. */
async function chooseBatch(
  device: Device,
  options: Options & ModelOptions,
  dtype: "f32" | "f16",
  communicator: Communicator,
): Promise<number> {
  const { totalBatch, context, recompute } = options;
  const all = totalBatch / context;
  const { start, end } = shareOf(all, communicator);
  // A part of a step may end with a smaller micro-batch.
  const sequences = communicator.size === 1 ? all : 2 ** Math.floor(Math.log2(end - start));
  return await fittingBatch(device, sizesOf(options), { sequences, recompute, dtype });
}

/** The learning rate and the size of every step, counted from 1. */
function planOf(
  options: Options,
  microBatch: number,
  ranks: number,
): (step: number) => StepPlan {
  const { minLr, steps: totalSteps, warmup: warmupSteps, batchWarmup } = options;
  const shared = { maxLr: options.lr, minLr, warmupSteps, totalSteps };
  const lr = options.schedule === "cosine"
    ? warmupCosine(shared)
    : warmupStableDecay({ ...shared, decaySteps: options.cooldown! });
  const batchSize = options.totalBatch / options.context;
  // As many as the ranks compute at once, if they divide a step.
  const together = microBatch * ranks;
  const multipleOf = batchSize % together === 0 ? together : 1;
  const sequences = batchWarmup === 0 ? () => batchSize : batchSizeWarmup({
    ...{ batchSize, multipleOf },
    initialBatchSize: Math.min(together, batchSize),
    warmupSteps: batchWarmup,
  });
  return (step) => ({ lr: lr(step), sequences: sequences(step) });
}

/** f16 on a GPU that has it; a software adapter only emulates it. */
function fasterDtype(device: Device): "f16" | "f32" {
  const isGpu = device instanceof WebGpuDevice && !device.software;
  return isGpu && device.dtypes.has("f16") ? "f16" : "f32";
}
