/**
 * Sentences and their translations, in the files of the Tatoeba project.
 *
 * @module
 */
import { toPath } from "../io/byte_source.ts";
import { FileFormatError } from "../io/errors.ts";
import { readZipEntry } from "./zip.ts";

/** A sentence and its translation. */
export interface SentencePair {
  /** The sentence to translate. */
  readonly source: string;
  /** Its translation. */
  readonly target: string;
}

/**
 * Parses the pairs of a text with one pair per line: source, tab, target. Further columns, such as the licence in the
 * files of manythings.org, are ignored, and so are empty lines. `file` is the name used in error messages.
 *
 * @throws {FileFormatError} for a line with one column or with an empty sentence; the message has its number
 */
export function parseSentencePairs(text: string, file: string): SentencePair[] {
  const pairs: SentencePair[] = [];
  for (const [i, line] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    if (line === "") continue;
    const columns = line.split("\t").map((column) => column.trim());
    const [source, target] = columns;
    if (!source || !target) {
      const found = columns.length < 2
        ? "no tab"
        : `an empty ${source ? "second" : "first"} sentence`;
      throw new FileFormatError(
        `line ${i + 1}: expected two sentences with a tab between them but got ${found}`,
        { file },
      );
    }
    pairs.push({ source, target });
  }
  return pairs;
}

/**
 * Reads the pairs of a text file, or of a zip archive that contains one: `.txt`, but not a name that begins with an
 * underscore, such as `_about.txt`. Needs `--allow-read` for the path.
 *
 * @throws {FileFormatError} for a malformed line, an archive that is cut short, text that is not UTF-8, and
 * a file without pairs
 */
export async function readSentencePairs(path: string | URL): Promise<SentencePair[]> {
  let file = toPath(path);
  let bytes: Uint8Array;
  if (/\.zip$/i.test(file)) {
    const entry = await readZipEntry(file, (name) => /(^|\/)[^_/][^/]*\.txt$/i.test(name));
    bytes = entry.bytes;
    file += `/${entry.name}`;
  } else bytes = await Deno.readFile(file);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FileFormatError("expected UTF-8 text but got other bytes", { file, cause });
  }
  const pairs = parseSentencePairs(text, file);
  if (pairs.length === 0) {
    throw new FileFormatError("expected sentence pairs but got none", { file });
  }
  return pairs;
}

/**
 * Cleans a sentence for the English-French task: narrow and other no-break spaces (U+202F, U+00A0) become spaces,
 * letters become lower case, and each of `, . ! ?` gets a space on both sides, so that splitting at spaces makes it a
 * word of its own. Hyphens and apostrophes stay: `qu'est-ce` is one word. The cleaning follows Zhang et al., "Dive into
 * Deep Learning", section 10.5, which puts no space behind a mark.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { cleanSentence } from "@dinograd/dinograd";
 *
 * assert.equal(cleanSentence("Qu'est-ce que c'est\u202f?"), "qu'est-ce que c'est ?");
 * assert.equal(cleanSentence("Wait, Tom!"), "wait , tom !");
 * ```
 */
export function cleanSentence(sentence: string): string {
  return sentence.replaceAll(/[\u202F\u00A0]/g, " ").toLowerCase()
    .replaceAll(/[,.!?]/g, " $& ").replaceAll(/ +/g, " ").trim();
}

/** Calls {@linkcode cleanSentence} on both sides. */
export function cleanPair({ source, target }: SentencePair): SentencePair {
  return { source: cleanSentence(source), target: cleanSentence(target) };
}
