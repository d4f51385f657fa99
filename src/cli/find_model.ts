/** Finds a model: in a folder of Hugging Face's layout, ours or another's, on the hub, in a GGUF or llama2.c's file. */
import { dirname, join } from "node:path";
import {
  type ChatTemplate,
  checkpointExtra,
  type Device,
  downloadModel,
  endOfTextIds,
  fitsVocabulary,
  GPT2,
  GPT2Tokenizer,
  type LanguageModelKind,
  listCheckpoints,
  loadChatTemplate,
  loadLlama2c,
  loadLlama2cTokenizer,
  loadLoRA,
  loadModel,
  loadNewestCheckpoint,
  loadStopIds,
  loadTokenizer,
  type MatrixType,
  type ModelDownloadProgress,
  type ModelKinds,
  ModernGPT,
  openProgress,
  plainChatTemplate,
  type PretrainedTokenizer,
  quantize,
  restoreModel,
  saveModel,
  type SaveModelOptions,
} from "../../mod.ts";
import { MODEL } from "./arguments.ts";
import { Interpreter } from "./interpreter.ts";
import { baseModelOf, exists, modelsIn, RUNS } from "./runs.ts";
import { createModel, type ModelOptions } from "./train/model.ts";

/** A model that continues texts. */
export type TextModel = ModelKinds[LanguageModelKind];

/** A model that continues texts, with what belongs to it. */
export interface FoundText {
  readonly model: TextModel;
  readonly tokenizer: PretrainedTokenizer;
  /** How conversations are written for it. */
  readonly chatTemplate: () => Promise<ChatTemplate>;
  /** Ids that end a text or an answer. */
  readonly stopIds: readonly number[];
  /** The folder of its tokenizer, in Hugging Face's layout. */
  readonly folder?: string;
}

/** A model that continues texts, or one that translates. */
export type Found = FoundText | { interpreter: Interpreter };

/** As {@linkcode findModel}, of models that continue texts only. */
export async function findTextModel(
  folder: string,
  device: Device,
  options?: FindOptions,
): Promise<FoundText> {
  const found = await findModel(folder, device, options);
  if ("model" in found) return found;
  throw new Error(`${folder}: expected a language model but got a translator`);
}

/** A model whose files say nothing about conversations. */
function plainText(model: TextModel, tokenizer: PretrainedTokenizer): FoundText {
  const chatTemplate = () => Promise.resolve(plainChatTemplate);
  return { model, tokenizer, chatTemplate, stopIds: endOfTextIds(tokenizer) };
}

/** Options of {@linkcode findModel}. */
export interface FindOptions {
  /** Of the weights. Default: `f32`. */
  readonly dtype?: "f32" | "f16" | undefined;
  /** Of the matrices of a language model that is not trained (see `loadModel`). Default: `dtype`. */
  readonly matrices?: "stored" | MatrixType | undefined;
}

/**
 * The model of a folder, file or name; of an adapter's folder the model that it is for, with the adapter in its weights.
 * Throws where there is none; the message says what to name instead.
 */
export async function findModel(
  folder: string,
  device: Device,
  options: FindOptions = {},
): Promise<Found> {
  const base = await baseModelOf(folder);
  if (base !== undefined) {
    const found = await findModel(base, device, options);
    if ("interpreter" in found) {
      throw new Error(`${base}: expected a language model but got a translator`);
    }
    await addAdapter(folder, found.model);
    return found;
  }
  if (folder.endsWith(".bin")) {
    return await quantised(await loadLlama2cFiles(folder, device), options);
  }
  if (await exists(`${folder}/target_vocabulary.json`)) {
    return { interpreter: await Interpreter.load(folder, device) };
  }
  const isOnHub = !await exists(folder) && /^\w[\w.-]*\/\w[\w.-]*$/.test(folder) &&
    !folder.startsWith(`${RUNS}/`);
  if (isOnHub) console.error(`${folder}: no such local folder; looking on the Hugging Face hub`);
  if (isOnHub || folder.endsWith(".gguf") || await exists(`${folder}/config.json`)) {
    return await loadPretrained(folder, device, options);
  }
  if (await exists(folder) && (await Deno.stat(folder)).isFile) {
    throw new Error(
      `${folder}: expected a model's folder, a run's folder, a .gguf or llama2.c's .bin but got another file`,
    );
  }
  const models = await modelsIn(folder);
  if (models.length === 1) return await findModel(models[0]!, device, options);
  if (models.length === 0 && (await listCheckpoints(folder)).length) {
    return await quantised(await loadReproduction(folder, device), options);
  }
  throw new Error(
    models.length
      ? `${folder}: expected one model but got several: name ${models.join(" or ")}`
      : `${folder}: expected ${MODEL} but got ` +
        (await exists(folder) ? "a folder without a model" : "nothing there"),
  );
}

/** A model with its matrices of the type that is asked for. */
async function quantised(found: FoundText, { matrices }: FindOptions): Promise<FoundText> {
  if (matrices && matrices !== "stored") await quantize(found.model, matrices);
  return found;
}

/** Puts an adapter, or that of a run, into the weights of a model, which then computes as fast as before. */
export async function addAdapter(folder: string, model: TextModel): Promise<void> {
  const [inRun] = await modelsIn(folder);
  using adapter = await loadLoRA(inRun ?? folder, model);
  adapter.merge();
}

/** The model out of the newest checkpoint of a run of `train`, which keeps its options there. */
async function loadReproduction(folder: string, device: Device): Promise<FoundText> {
  const checkpoint = await loadNewestCheckpoint(folder, {
    onRefused: (error) => console.error(`${error.message}; trying the previous one`),
  });
  const { options } = checkpointExtra(checkpoint!, ["options"]) as { options: unknown };
  const model = createModel(options as ModelOptions, { device, random: null });
  restoreModel(checkpoint!, model);
  return plainText(model, await tokenizerOf(folder, model));
}

/** A language model in Hugging Face's layout or in GGUF, with its tokenizer; GPT-2's own where there is none. */
async function loadPretrained(
  from: string,
  device: Device,
  { dtype, matrices }: FindOptions,
): Promise<FoundText> {
  using progress = await openProgress({ label: from, total: 100, unit: "%", lineEvery: 10 });
  const onProgress = ({ done, total }: ModelDownloadProgress) =>
    progress.update(Math.floor(100 * done / total));
  const model = await loadModel(from, { device, dtype, matrices, onProgress });
  try {
    const isFile = from.endsWith(".gguf");
    const folder = isFile || await exists(from)
      ? from
      : await downloadModel(from, { parts: ["tokenizer"] });
    const tokenizer = await tokenizerOf(folder, model);
    return {
      ...{ model, tokenizer, chatTemplate: () => loadChatTemplate(folder) },
      stopIds: await loadStopIds(folder, tokenizer),
      ...!isFile && { folder },
    };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Saves the model that was found, or made from it, with what its files say about conversations and their ends. */
export async function saveFound(
  { model, tokenizer, folder, chatTemplate }: FoundText,
  to: string,
  options: SaveModelOptions,
): Promise<void> {
  if (folder === undefined) {
    await saveModel(to, model, { tokenizer, chatTemplate: await chatTemplate(), ...options });
    return;
  }
  await saveModel(to, model, { tokenizer, ...options });
  for (const name of ["chat_template.jinja", "tokenizer_config.json", "generation_config.json"]) {
    const file = join(folder, name);
    if (await exists(file)) await Deno.writeFile(join(to, name), await Deno.readFile(file));
  }
}

/** Loads the tokenizer of a model, or GPT-2's. Throws if it has more ids than the model has rows. */
async function tokenizerOf(from: string, model: TextModel): Promise<PretrainedTokenizer> {
  const most = model.config.vocabSize;
  try {
    const tokenizer = await loadTokenizer(from);
    if (fitsVocabulary(tokenizer, most)) return tokenizer;
    const file = from.endsWith(".gguf") ? from : `${from}/tokenizer.json`;
    throw new Error(
      `${file}: expected this model's vocabulary, ${most} ids at most, but got ${tokenizer.vocabSize}`,
    );
  } catch (error) {
    const own = new GPT2Tokenizer();
    const isOwn = (model instanceof GPT2 || model instanceof ModernGPT) &&
      most >= own.vocabSize && (error as Error).cause instanceof Deno.errors.NotFound;
    if (isOwn) return own;
    throw error;
  }
}

/** A model of llama2.c and the `tokenizer.bin` beside it. */
async function loadLlama2cFiles(path: string, device: Device): Promise<FoundText> {
  const model = await loadLlama2c(path, { device });
  const file = join(dirname(path), "tokenizer.bin");
  return plainText(model, await loadLlama2cTokenizer(file));
}
