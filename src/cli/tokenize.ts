/** `dinograd tokenize`: text into ids and back. */
import { writeNpy } from "../../mod.ts";
import { UsageError } from "./failures.ts";
import { findTokenizer } from "./find_tokenizer.ts";
import { print, readText, write } from "./output.ts";

/** What `tokenize` is asked for. */
export interface TokenizeOptions {
  readonly tokenizer: string;
  readonly file?: string;
  readonly decode?: boolean;
  readonly count?: boolean;
  readonly special?: boolean;
  readonly json?: boolean;
  readonly out?: string;
}

/** Encodes the words, or a file or the standard input; or decodes ids out of them. */
export async function tokenize(words: readonly string[], options: TokenizeOptions): Promise<void> {
  if (words.length && options.file !== undefined) {
    throw new UsageError("tokenize: expected a text or a --file but got both");
  }
  const tokenizer = await findTokenizer(options.tokenizer);
  const text = words.length ? words.join(" ") : await readText(options.file);
  if (options.decode) return write(tokenizer.decode(readIds(text, tokenizer.vocabSize)));
  const ids = options.special
    ? tokenizer.encode(text, { allowedSpecial: "all" })
    : tokenizer.encodeOrdinary(text);
  if (options.out !== undefined) {
    const fits = tokenizer.vocabSize <= 2 ** 16;
    await writeNpy(options.out, fits ? Uint16Array.from(ids) : ids);
    console.error(`${ids.length} ids written to ${options.out}`);
  } else if (options.count) {
    const bytes = new TextEncoder().encode(text).length;
    const figures = { tokens: ids.length, bytes, bytesPerToken: bytes / Math.max(1, ids.length) };
    print(
      options.json
        ? JSON.stringify(figures)
        : `${ids.length} tokens, ${bytes} bytes, ${figures.bytesPerToken.toFixed(2)} bytes a token`,
    );
  } else print(options.json ? JSON.stringify([...ids]) : ids.join(" "));
}

function readIds(text: string, vocabSize: number): number[] {
  return text.split(/[\s,\[\]]+/).filter(Boolean).map((word) => {
    const id = Number(word);
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) return id;
    throw new UsageError(`tokenize: expected ids from 0 to ${vocabSize - 1} but got "${word}"`);
  });
}
