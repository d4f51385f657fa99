/**
 * Loads the tokenizers of models.
 *
 * @module
 */
import { join } from "../io/node_builtins.ts";
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { loadTokenizerJson } from "../tokenizer/tokenizer_json.ts";
import type { PretrainedTokenizer } from "../tokenizer/tokenizer.ts";
import { loadGgufTokenizer } from "../tokenizer/gguf_vocabulary.ts";
import { isGguf } from "./gguf_model.ts";
import type { ModelHubOptions } from "./download_model.ts";
import { modelFolder } from "./load_model.ts";
import { readVocabularyFiles, VOCABULARY } from "./vocabulary_files.ts";

/**
 * Loads the tokenizer of a model: `tokenizer.json` of a folder, or of a model on the hub, which is downloaded into the
 * cache; if there is none, GPT-2's `vocab.json` and `merges.txt`. A path that ends in `.json` is the file itself, and
 * one that ends in `.gguf` is a file with the vocabulary beside the weights. Folders, names and permissions are those
 * of {@linkcode loadModel}.
 *
 * @throws {FileFormatError} where there are no such files
 * @throws {TokenizerFormatError} where it describes a tokenizer that this library has not
 * @throws {DownloadError} where the hub refuses, or what came is not what it promised
 *
 * @example GPT-2 from the hub
 * ```ts ignore
 * import { loadTokenizer } from "@dinograd/dinograd";
 *
 * const tokenizer = await loadTokenizer("openai-community/gpt2");
 * const ids = [...tokenizer.prefix, ...tokenizer.encode("Hello")];
 * ```
 */
export async function loadTokenizer(
  from: string | URL,
  options?: ModelHubOptions,
): Promise<PretrainedTokenizer> {
  if (toPath(from).endsWith(".json")) return await loadTokenizerJson(from);
  if (isGguf(from)) return await loadGgufTokenizer(from);
  const folder = await modelFolder(from, "tokenizer", options);
  const file = join(folder, "tokenizer.json");
  try {
    return await loadTokenizerJson(file);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    const tokenizer = await readVocabularyFiles(folder);
    if (tokenizer) return tokenizer;
    throw new FileFormatError(`expected this file or ${VOCABULARY} but got neither`, {
      file,
      cause,
    });
  }
}
