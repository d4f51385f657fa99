/** The text of `next_token_byte_pair.ts`, its tokenizer, and the windows that models read. */
import {
  BytePairTokenizer,
  loadTinyShakespeare,
  openProgress,
  shuffledOrder,
  tinyShakespeare,
} from "../../mod.ts";
import { trainTokenizer } from "../../src/cli/find_tokenizer.ts";
import { exists, RUNS } from "../../src/cli/runs.ts";
import type { Options } from "./options.ts";

/** What a run trains and validates on. */
export interface Corpus {
  tokenizer: BytePairTokenizer;
  train: Windows;
  validation: Windows;
  /** The entropy of the token frequencies in nats: the loss of a model that knows nothing else. */
  unigramEntropy: number;
  /** A line for the log. */
  description: string;
}

/** Consecutive windows as a batch for a model. */
export interface WindowBatch {
  /** (rows, context), row-major. */
  inputs: Int32Array;
  /** The token after each of `inputs`. */
  targets: Int32Array;
  rows: number;
}

/**
 * Reads the text, holds out its first tenth, and trains a tokenizer on the rest (on all of it with `wholeText`) or
 * loads it from the folder. Progress is reported to `line`.
 */
export async function openCorpus(
  folder: string,
  options: Options,
  line: (text: string) => void,
): Promise<Corpus> {
  const text = await readText(options.data);
  const end = endOfFirstTenth(text);
  const [held, rest] = [text.slice(0, end), text.slice(end)];
  const file = `${folder}/tokenizer.json`;
  const known = await exists(file);
  const tokenizer = known
    ? await BytePairTokenizer.load(file)
    : await trainTokenizer(options.wholeText ? text : rest, {
      merges: options.merges,
      ties: options.wholeText ? "first" : "lowest", // the specification's merges, and Hugging Face's
    }, line);
  if (!known) await tokenizer.save(file);
  const train = tokenizer.encodeOrdinary(rest);
  const validation = tokenizer.encodeOrdinary(held);
  const count = (n: number) => n.toLocaleString("en");
  return {
    tokenizer,
    train: new Windows("the text to train on", train, { ...options, shuffled: true }),
    validation: new Windows("the first tenth of the text", validation, options),
    unigramEntropy: entropy([train, validation], tokenizer.vocabSize),
    description: `${count(text.length)} characters; ${count(train.length)} tokens for training, ` +
      `the first ${count(validation.length)} for validation; vocabulary of ${tokenizer.vocabSize}`,
  };
}

/** Where the line ends in which the first tenth of a text ends; the tenth itself if the line has another tenth. */
function endOfFirstTenth(text: string): number {
  const tenth = Math.floor(text.length / 10);
  const end = text.indexOf("\n", tenth) + 1;
  return end > 0 && end <= 2 * tenth ? end : tenth;
}

async function readText(path: string | undefined): Promise<string> {
  if (path !== undefined) return await Deno.readTextFile(path);
  const { bytes } = tinyShakespeare;
  using progress = await openProgress({ label: "download", total: bytes, unit: "bytes" });
  // Next to the runs, so that no other folder needs a permission.
  return await loadTinyShakespeare({ cache: RUNS, onProgress: (done) => progress.update(done) });
}

/**
 * A text in windows of one token more than the context: a model reads all but the last token and predicts all but the
 * first. A window begins with the last token of the previous one, so an epoch, which is every window once, has every
 * token once as a target. The rest at the end is too short for a window and is dropped.
 */
export class Windows {
  /** The number of windows. */
  readonly count: number;
  /** The batches of an epoch; the last may have fewer rows. */
  readonly batches: number;
  readonly #tokens: ArrayLike<number>;
  readonly #options: { context: number; batch: number; seed: number; shuffled?: boolean };
  #order: { epoch: number; indices: ArrayLike<number> } | undefined;

  constructor(
    what: string,
    tokens: ArrayLike<number>,
    options: { context: number; batch: number; seed: number; shuffled?: boolean },
  ) {
    this.#tokens = tokens;
    this.#options = options;
    this.count = Math.floor((tokens.length - 1) / options.context);
    this.batches = Math.ceil(this.count / options.batch);
    if (this.count < 1) {
      throw new RangeError(
        `${what}: expected more tokens than a context of ${options.context} but got ${tokens.length}`,
      );
    }
  }

  /** The number of predictions in an epoch. */
  get tokens(): number {
    return this.count * this.#options.context;
  }

  /** Batch `index` of an epoch, both counted from 0; if shuffled, seed and epoch determine the order. */
  batch(index: number, epoch = 0): WindowBatch {
    const { context, batch } = this.#options;
    const rows = Math.min(batch, this.count - index * batch);
    const inputs = new Int32Array(rows * context);
    const targets = new Int32Array(rows * context);
    for (let row = 0; row < rows; row++) {
      const start = this.#window(index * batch + row, epoch) * context;
      for (let i = 0; i < context; i++) {
        inputs[row * context + i] = this.#tokens[start + i]!;
        targets[row * context + i] = this.#tokens[start + i + 1]!;
      }
    }
    return { inputs, targets, rows };
  }

  #window(position: number, epoch: number): number {
    const { seed, shuffled } = this.#options;
    if (!shuffled) return position;
    if (this.#order?.epoch !== epoch) {
      this.#order = { epoch, indices: shuffledOrder(this.count, seed, epoch) };
    }
    return this.#order.indices[position]!;
  }
}

/** The entropy of the token frequencies in nats. */
function entropy(parts: ArrayLike<number>[], vocabSize: number): number {
  const counts = new Float64Array(vocabSize);
  for (const ids of parts) for (let i = 0; i < ids.length; i++) counts[ids[i]!]!++;
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.reduce((sum, n) => n ? sum - n / total * Math.log(n / total) : sum, 0);
}
