/**
 * How a conversation is written as a single text, in the way a model was trained on.
 *
 * @module
 */
import { type ChatFormat, type ChatTemplate, plainChatFormat } from "../data/chat_format.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { GgufFile } from "../io/gguf.ts";
import { shown } from "../io/json_text.ts";
import { importLate } from "../io/late_import.ts";
import { join } from "../io/node_builtins.ts";
import { endOfTextIds, promptIds, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { CHAT_TEMPLATE_FILES, GENERATION_CONFIG, type ModelHubOptions } from "./download_model.ts";
import { isGguf } from "./gguf_model.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "./json_file.ts";
import { modelFolder } from "./load_model.ts";
import { CONFIG } from "./weight_files.ts";

/** Lines of `User: ...` and `Assistant: ...`, for models without a template. */
export const plainChatTemplate: ChatTemplate = {
  encode(messages, tokenizer) {
    const text = plainChatTemplate.render(messages, { addGenerationPrompt: true });
    return Uint32Array.from(promptIds(tokenizer, text));
  },
  render: plainChatFormat(),
  stop: ["\nUser:"],
};

/**
 * Returns a template in the Jinja language, as models on the hub have them; `variables` are what it may refer to, such
 * as `bos_token`. Its output may contain special tokens, and so may messages. Throws a `FileFormatError` for a template
 * that is not understood.
 */
export async function jinjaChatTemplate(
  source: string,
  variables?: Readonly<Record<string, unknown>>,
  file?: string,
): Promise<ChatTemplate> {
  const { Template } = await importLate<typeof import("npm:@huggingface/jinja@0.5.11")>(
    "npm:@huggingface/jinja@0.5.11",
  );
  let template: InstanceType<typeof Template>;
  try {
    template = new Template(source);
  } catch (cause) {
    throw new FileFormatError(
      `expected a template in Jinja but got another: ${(cause as Error).message}`,
      { file: file ?? "chat template", cause },
    );
  }
  const render: ChatFormat = (messages, { addGenerationPrompt }) =>
    template.render({ ...variables, messages, add_generation_prompt: addGenerationPrompt });
  return {
    encode: (messages, tokenizer) =>
      tokenizer.encode(render(messages, { addGenerationPrompt: true }), { allowedSpecial: "all" }),
    render,
    stop: [],
    jinja: { source, variables: variables ?? {} },
  };
}

/**
 * Loads the chat template of a model's folder, or of a model on the hub: `chat_template.jinja`, or what
 * `tokenizer_config.json` holds, or a GGUF file; {@linkcode plainChatTemplate} if there is none. Folders, names and
 * permissions are those of `loadModel`. Throws a `FileFormatError` for damaged files.
 */
export async function loadChatTemplate(
  from: string | URL,
  options?: ModelHubOptions,
): Promise<ChatTemplate> {
  if (isGguf(from)) return await ggufChatTemplate(from);
  const folder = await modelFolder(from, "tokenizer", options);
  const [own, config] = CHAT_TEMPLATE_FILES.map((name) => join(folder, name)) as [string, string];
  const fields = await readJsonObject(config) ?? {};
  const source = await readText(own);
  const found = source !== undefined ? { source, file: own } : {
    source: templateOf(fields, config),
    file: config,
  };
  if (found.source === undefined) return plainChatTemplate;
  return await jinjaChatTemplate(found.source, specialTokensOf(fields), found.file);
}

/**
 * Loads the ids that end an answer of a model: {@linkcode endOfTextIds}, and those that its files name, which are
 * `generation_config.json`, `config.json` and `tokenizer_config.json`, or a GGUF file. Folders, names and permissions
 * are those of `loadModel`. Throws a `FileFormatError` for damaged files.
 */
export async function loadStopIds(
  from: string | URL,
  tokenizer: Tokenizer,
  options?: ModelHubOptions,
): Promise<number[]> {
  const named = isGguf(from)
    ? await ggufEndIds(from)
    : await folderEndIds(from, tokenizer, options);
  const isId = (id: unknown): id is number =>
    Number.isInteger(id) && id as number >= 0 && id as number < tokenizer.vocabSize;
  return [...new Set([...endOfTextIds(tokenizer), ...named.filter(isId)])];
}

/** Returns what the files of a folder give as ids that end a text. */
async function folderEndIds(
  from: string | URL,
  { specialTokens }: Tokenizer,
  options: ModelHubOptions | undefined,
): Promise<unknown[]> {
  const folder = await modelFolder(from, "tokenizer", options);
  const fieldsOf = async (file: string) => await readJsonObject(join(folder, file)) ?? {};
  const ids: unknown[] = [];
  for (const file of [GENERATION_CONFIG, CONFIG]) {
    const { eos_token_id } = await fieldsOf(file);
    ids.push(...Array.isArray(eos_token_id) ? eos_token_id : [eos_token_id]);
  }
  const { eos_token } = specialTokensOf(await fieldsOf("tokenizer_config.json"));
  return [...ids, specialTokens.get(eos_token ?? "")];
}

/** Returns what a GGUF file gives as ids that end a text, a turn and a message. */
async function ggufEndIds(from: string | URL): Promise<unknown[]> {
  using file = await GgufFile.open(toPath(from));
  return ["eos", "eot", "eom"].map((name) =>
    file.metadata.get(`tokenizer.ggml.${name}_token_id`)?.value
  );
}

/** Loads the template in the metadata of a GGUF file, which gives its special tokens by their ids. */
async function ggufChatTemplate(from: string | URL): Promise<ChatTemplate> {
  const path = toPath(from);
  using file = await GgufFile.open(path);
  const valueOf = (key: string) => file.metadata.get(`tokenizer.${key}`)?.value;
  const source = valueOf("chat_template");
  if (typeof source !== "string") return plainChatTemplate;
  const tokens = valueOf("ggml.tokens");
  const special = ["bos", "eos", "unk"].flatMap((name) => {
    const token = Array.isArray(tokens) && tokens[Number(valueOf(`ggml.${name}_token_id`))];
    return typeof token === "string" ? [[`${name}_token`, token]] : [];
  });
  return await jinjaChatTemplate(source, Object.fromEntries(special), path);
}

/** Returns the template in a `tokenizer_config.json`: one text, or one of several with names. */
function templateOf({ chat_template: template }: JsonObject, file: string): string | undefined {
  if (template === undefined || template === null) return undefined;
  const several = Array.isArray(template) ? template.filter(isJsonObject) : [];
  const named = several.find(({ name }) => name === "default") ?? several[0];
  const source = named ? named.template : template;
  if (typeof source === "string") return source;
  throw new FileFormatError(
    `chat_template: expected a text, or a list of templates, but got ${shown(template)}`,
    { file },
  );
}

/** Returns `bos_token` and the like, each a text or an object with a `content`. */
function specialTokensOf(fields: JsonObject): Record<string, string> {
  const tokens = Object.entries(fields).flatMap(([name, value]) => {
    const text = isJsonObject(value) ? value.content : value;
    return name.endsWith("_token") && typeof text === "string" ? [[name, text]] : [];
  });
  return Object.fromEntries(tokens);
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
