/**
 * GPT-2's original tokenizer files: `vocab.json`, the ids of all tokens, and `merges.txt`, a pair of tokens per line.
 *
 * @module
 */
import { join } from "../io/node_builtins.ts";
import { FileFormatError } from "../io/errors.ts";
import { shown } from "../io/json_text.ts";
import { END_OF_TEXT } from "../tokenizer/gpt2_tokenizer.ts";
import { tokenizerFromJson } from "../tokenizer/tokenizer_json.ts";
import type { PretrainedTokenizer } from "../tokenizer/tokenizer.ts";
import { readJsonObject } from "./json_file.ts";

/** The file of ids. */
export const VOCABULARY = "vocab.json";
/** The file of merges. */
export const MERGES = "merges.txt";

/**
 * Loads the tokenizer of a folder with `vocab.json` and `merges.txt`; undefined if there are none. `<|endoftext|>` is
 * its special token if it is in the vocabulary.
 *
 * @throws {FileFormatError} where one of the two is missing or a line is no pair
 * @throws {TokenizerFormatError} where they contradict each other
 */
export async function readVocabularyFiles(
  folder: string,
): Promise<PretrainedTokenizer | undefined> {
  const file = join(folder, VOCABULARY);
  const vocab = await readJsonObject(file);
  if (!vocab) return undefined;
  const special = Object.hasOwn(vocab, END_OF_TEXT)
    ? [{ id: vocab[END_OF_TEXT], content: END_OF_TEXT, special: true }]
    : [];
  return tokenizerFromJson({
    added_tokens: special,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
    model: { type: "BPE", vocab, merges: await readMerges(join(folder, MERGES)) },
  }, file);
}

async function readMerges(file: string): Promise<string[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new FileFormatError(`expected this file beside ${VOCABULARY} but got none`, {
      file,
      cause,
    });
  }
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  if (lines[0]!.startsWith("#version")) lines[0] = "";
  return lines.filter((line, i) => {
    if (line === "" || /^[^ ]+ [^ ]+$/.test(line)) return line !== "";
    throw new FileFormatError(`line ${i + 1}: expected two tokens but got ${shown(line)}`, {
      file,
    });
  });
}
