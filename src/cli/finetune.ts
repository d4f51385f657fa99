/** `dinograd finetune`: continues the training of a model, either all of its weights or an adapter. */
import { type Device, RowLoader, saveLoRA, SingleProcess, warmupCosine } from "../../mod.ts";
import { UsageError } from "./failures.ts";
import { findTextModel, type FoundText, saveFound } from "./find_model.ts";
import { type Corpus, openCorpus } from "./finetune/corpus.ts";
import { type Options, parseOptions } from "./finetune/options.ts";
import { tuning, type TuningTask } from "./finetune/task.ts";
import { openChosenDevice } from "./open_device.ts";
import { Checks } from "./train/checks.ts";
import { newFolder, openResumed } from "./train/folder.ts";
import { finishRun, type Run } from "./train/loop.ts";
import { Report } from "./train/report.ts";
import { Training } from "./train/training.ts";

const KIND = "finetune";

/** Trains as the command line `args` says. */
export async function finetune(args: string[]): Promise<void> {
  const asked = parseOptions(args);
  const resumed = await openResumed<Options>([KIND], asked);
  const options = resumed ? parseOptions(args, resumed.options) : asked;
  const device = await openChosenDevice(options);
  const base = await findBase(options, device);
  const { model, tokenizer } = base;
  const corpus = await openCorpus(options, base);
  using folder = resumed?.folder ?? await newFolder(KIND, options);

  const { dtype, seed, samples, sampleLength, topK, temperature } = options;
  const batch = rowsPerStep(options, corpus);
  const steps = Math.ceil(options.epochs * corpus.train.length / batch);
  const reference = options.dpo && options.lora === undefined
    ? (await findBase(options, device)).model
    : undefined;
  const communicator = new SingleProcess();
  let task: TuningTask;
  await using training = await Training.open({
    ...{ options, communicator, device, dtype, batch: Math.min(batch, corpus.train.length) },
    mayHalve: true,
    task: (random) =>
      task = tuning({
        options,
        model,
        reference,
        rows: corpus.train,
        contextSize: corpus.contextSize,
        packed: corpus.packed,
      }, random),
    checkpoint: resumed?.checkpoint,
  });
  const title = `${options.model}, fine-tuned: ${device.description}`;
  using report = await Report.open(folder.path, title, training.step, resumed?.curves);
  await using checks = await Checks.open({
    ...{
      task: task!,
      tokenizer,
      report,
      communicator,
      prompt: corpus.prompt,
      stopIds: corpus.stopIds,
    },
    options: { steps, hellaswagEvery: steps, samples, sampleLength, topK, temperature, seed },
    validation: {
      loader: new RowLoader(corpus.validation, {
        batchSize: batch,
        contextSize: corpus.contextSize,
        pack: corpus.packed,
      }),
      rows: corpus.validation.length,
    },
    samplesFirst: true,
  });
  const plan = `${describe(options, task!, device)}; ` +
    describeSteps(steps, batch, options, corpus);
  report.begin([corpus.description, plan], resumed?.checkpoint);
  await finishRun({
    ...{ device, training, checks, report, communicator, steps },
    ...scheduleOf(options, corpus, batch, steps),
    onSaved: async () => report.line(`wrote ${await write(folder.path, options, base, task)}`),
  });
}

/** What each step is, and which ones are milestones: by default one in an epoch, or ten in all. */
function scheduleOf(
  { lr: maxLr, warmup, saveEvery }: Options,
  { train }: Corpus,
  batch: number,
  steps: number,
): Pick<Run, "plan" | "isMilestone"> {
  const every = saveEvery ?? Math.max(Math.ceil(train.length / batch), Math.ceil(steps / 10));
  const lr = warmupCosine({
    ...{ maxLr, minLr: maxLr / 10, totalSteps: steps },
    warmupSteps: Math.min(Math.ceil(warmup * steps), steps - 1),
  });
  return {
    plan: (step) => ({ lr: lr(step), sequences: batch }),
    isMilestone: (step) => step % every === 0 || step === steps,
  };
}

/** Writes the result for `generate` and others, and returns its path. */
async function write(
  run: string,
  { model: baseModel, dtype }: Options,
  base: FoundText,
  { adapter }: TuningTask,
): Promise<string> {
  const path = `${run}/${adapter ? "adapter" : "model"}`;
  if (adapter) await saveLoRA(path, adapter, { baseModel });
  else await saveFound(base, path, { dtype });
  return path;
}

async function findBase({ model, dtype }: Options, device: Device): Promise<FoundText> {
  const found = await findTextModel(model, device, { dtype });
  if (found.model.parameters().values().some((one) => one.dtype !== dtype)) {
    throw new UsageError(
      `--dtype ${dtype}: expected a folder of Hugging Face's layout, as dinograd convert writes, but got ${model}`,
    );
  }
  return found;
}

/** The number of rows of the training data that hold as many examples as a step is to have. */
function rowsPerStep({ batch }: Options, { train, packed }: Corpus): number {
  return packed ? Math.max(1, Math.round(batch * train.length / train.flat().length)) : batch;
}

function describeSteps(steps: number, rows: number, { dpo }: Options, corpus: Corpus): string {
  const examples = rows * corpus.train.flat().length / corpus.train.length;
  const unit = (dpo ? "pair" : "row") + (rows === 1 ? "" : "s");
  return `${count(steps)} steps of ${count(rows)} ${unit}` +
    (corpus.packed ? `, ${examples.toFixed(1)} examples on average` : "");
}

const count = (n: number) => n.toLocaleString("en");

function describe(
  { dtype }: Options,
  { model, adapter }: TuningTask,
  device: Device,
): string {
  const trained = adapter
    ? `; training an adapter of rank ${adapter.config.r} in ${
      adapter.config.targetModules.join(", ")
    } ` +
      `with ${count(adapter.parameterCount())} parameters`
    : "";
  return `${model.constructor.name} with ${
    count(model.parameterCount())
  } parameters in ${dtype} on ` +
    `${device.description}${trained}`;
}
