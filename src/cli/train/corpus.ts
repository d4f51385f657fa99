/** The tokens that `train` reads. */
import {
  type Communicator,
  END_OF_TEXT,
  endOfTextIds,
  findShards,
  loadMobyDick,
  type PretrainedTokenizer,
  type TokenArray,
} from "../../../mod.ts";
import { UsageError } from "../failures.ts";
import { readText } from "../output.ts";
import { exists } from "../runs.ts";
import type { Options } from "./options.ts";
import { openTokenizer } from "./tokenizer.ts";

/** Training and validation tokens, as paths of shards or in memory, and lines that say what they are. */
export interface Corpus {
  train: string[] | TokenArray;
  validation: string[] | TokenArray;
  tokenizer: PretrainedTokenizer;
  /** The token between documents, where it matters. */
  separator: number | undefined;
  /** What samples continue by default. */
  prompt: string;
  description: string[];
}

/** The part of a corpus that comes from the text or the shards. */
type Tokens = Omit<Corpus, "tokenizer" | "separator">;

/**
 * Opens the shards of a folder, or reads a text, whose last tenth is held out: a file, or Moby Dick without `--data`. A
 * resumed run, whose folder is `resumed` on rank 0, keeps its tokenizer.
 */
export async function openCorpus(
  options: Options,
  resumed: string | undefined,
  communicator: Communicator,
): Promise<Corpus> {
  const text = await readCorpus(options.data);
  const lines: string[] = [];
  const tokenizer = await openTokenizer(
    { options, text, resumed, communicator },
    (line) => lines.push(line),
  );
  const tokens = text === undefined
    ? await openShards(options.data!)
    : encodeText(text, options, tokenizer);
  return {
    ...tokens,
    tokenizer,
    separator: separatorOf(tokenizer, options),
    description: [...lines, ...tokens.description],
  };
}

function separatorOf(
  tokenizer: PretrainedTokenizer,
  { shuffle, documentBorders }: Options,
): number | undefined {
  const [id] = endOfTextIds(tokenizer);
  if (id !== undefined || !(shuffle || documentBorders)) return id;
  throw new UsageError(
    `--${
      shuffle ? "shuffle" : "document-borders"
    }: expected a tokenizer with a token that ends a text, such as ${END_OF_TEXT}, but got none`,
  );
}

/** Reads the text that `--data` names, or Moby Dick; returns undefined for a folder of token shards. */
async function readCorpus(data: string | undefined): Promise<string | undefined> {
  if (data === undefined) return await loadMobyDick();
  if (!await exists(data)) {
    throw new Error(`${data}: expected a text or a folder of token shards but got nothing there`);
  }
  if (!await isFile(data)) return undefined;
  if (/\.(npy|bin|parquet|jsonl|gz|zst|gguf|safetensors)$/.test(data)) {
    throw new UsageError(
      `--data: expected a text or a folder of token shards but got ${data}; ` +
        "`prepare --out FOLDER FILES` makes shards",
    );
  }
  return await readText(data);
}

async function openShards(folder: string): Promise<Tokens> {
  const [train, validation] = await Promise.all([
    findShards(folder, { split: "train" }),
    findShards(folder, { split: "val" }),
  ]);
  const description = `found ${train.length} shards for training and ${validation.length} for ` +
    `validation in ${folder}`;
  return {
    train,
    validation,
    prompt: "Neural networks are",
    description: [description],
  };
}

/** Tokenizes a text, in which `<|endoftext|>` separates documents, and holds out its last tenth. */
function encodeText(
  text: string,
  { data, context, vocabSize }: Options,
  tokenizer: PretrainedTokenizer,
): Tokens {
  const ids = tokenizer.encode(text, { allowedSpecial: [END_OF_TEXT], disallowedSpecial: [] });
  const tokens = tokenizer.vocabSize <= 2 ** 16 ? Uint16Array.from(ids) : ids;
  const held = Math.floor(tokens.length / 10);
  if (held <= context) {
    throw new UsageError(
      `--data: expected a text of more than ${10 * context} tokens, ten times the --context, ` +
        `but got ${tokens.length} in ${data}`,
    );
  }
  const [train, validation] = [tokens.subarray(0, -held), tokens.subarray(-held)];
  const count = (n: number) => n.toLocaleString("en");
  const description = [
    `${data ?? "no --data given: Moby Dick"}, 1 shard in memory, ` +
    `${count(train.length)} tokens for training, the last ${count(held)} for validation`,
  ];
  const kinds = new Set(tokens).size;
  if (data !== undefined && vocabSize === undefined && 2 * kinds < tokenizer.vocabSize) {
    description.push(
      `it uses ${count(kinds)} of the tokenizer's ${count(tokenizer.vocabSize)} ids; ` +
        "for a smaller model, train a tokenizer on it, for example with --vocab-size 1024",
    );
  }
  const beginning = validation.subarray(0, 500);
  return {
    ...{ train, validation, description },
    prompt: data === undefined ? "The whale" : firstWords(tokenizer.decode(beginning)),
  };
}

/** Up to four words: those after the first line break of a text, or else after its first space. */
function firstWords(text: string): string {
  const plain = text.replaceAll(END_OF_TEXT, "\n");
  const found = /\n\s*(\S.*)/.exec(plain) ?? /\s(\S.*)/.exec(plain);
  const words = (found?.[1] ?? plain).trim().split(/\s+/).slice(0, 4).join(" ");
  return [...words].slice(0, 40).join("") || "\n"; // not every script has spaces
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
