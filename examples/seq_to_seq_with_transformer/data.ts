/** The sentence pairs of `seq_to_seq_with_transformer.ts`, split and encoded. */
import {
  DownloadError,
  englishFrench,
  fittingPairs,
  formatBytes,
  loadEnglishFrench,
  openProgress,
  type SentencePair,
  shuffledOrder,
  TextVocabulary,
  TranslationRows,
} from "../../mod.ts";
import { RUNS } from "../../src/cli/runs.ts";
import type { Options } from "./options.ts";

/** What a run trains and validates on. */
export interface Corpus {
  /** All pairs that were read, including those that are too long. */
  pairs: SentencePair[];
  train: SentencePair[];
  validation: SentencePair[];
  source: TextVocabulary;
  target: TextVocabulary;
  trainRows: TranslationRows;
  validationRows: TranslationRows;
  /** Pairs whose translations are shown, none of them cut: held-out pairs, if any, then training pairs. */
  shown: { name: string; pairs: SentencePair[] }[];
  /** A line for the log. */
  description: string;
}

/** An English sentence and all its French translations. */
export interface Sentence {
  source: string;
  references: string[];
}

/**
 * Reads the pairs, drops or cuts those that are too long, holds some sentences out, and counts the words of the
 * others.
 */
export async function openCorpus(options: Options): Promise<Corpus> {
  const all = (await readPairs(options.data)).slice(0, options.pairs);
  const fitting = fittingPairs(all, options);
  const pairs = options.cut ? all : fitting;
  const { train, validation } = split(pairs, options);
  const shown = [{ name: "held out", pairs: validation }, { name: "trained on", pairs: train }]
    .map(({ name, pairs }) => ({ name, pairs: fittingPairs(pairs, options) }))
    .filter(({ pairs }) => pairs.length > 0);
  if (shown.length < (options.held === 0 ? 1 : 2)) {
    throw new Error(
      `expected pairs to train and to validate, of at most ${options.sourceLength - 1} and ` +
        `${options.targetLength - 1} words, but got ${pairs.length}`,
    );
  }
  const source = TextVocabulary.fromSentences(train.map((pair) => pair.source), options);
  const target = TextVocabulary.fromSentences(train.map((pair) => pair.target), options);
  const count = (n: number) => n.toLocaleString("en");
  return {
    pairs: all,
    train,
    validation,
    source,
    target,
    trainRows: new TranslationRows(train, source, target, options),
    validationRows: new TranslationRows(validation, source, target, options),
    shown,
    description:
      `${count(train.length)} pairs to train on, ${count(validation.length)} to validate ` +
      `(no English sentence in both); ${count(all.length - fitting.length)} are too long and ` +
      (options.cut ? "cut" : "left out"),
  };
}

/** Reads the pairs of a file, or downloads them with a progress bar. */
async function readPairs(data: string | undefined): Promise<SentencePair[]> {
  if (data !== undefined) return await loadEnglishFrench({ path: data });
  using progress = await openProgress({ label: "download", total: 8e6, unit: "bytes" });
  try {
    // Next to the runs, so that no other folder needs a permission.
    return await loadEnglishFrench({
      cache: RUNS,
      onProgress: (done, total) =>
        progress.update(done, total === undefined ? "" : `of ${formatBytes(total)}`),
    });
  } catch (error) {
    if (!(error instanceof DownloadError)) throw error;
    throw new Error(
      `${error.message}\nDownload ${englishFrench.source} by other means and name it with --data`,
      { cause: error },
    );
  }
}

/**
 * Holds out whole English sentences with all their translations: with the same sentence on both sides, validation
 * would test memory.
 */
function split(
  pairs: SentencePair[],
  { held, seed }: Options,
): { train: SentencePair[]; validation: SentencePair[] } {
  const sentences = [...new Set(pairs.map((pair) => pair.source))];
  const count = Math.round(sentences.length * held);
  const order = shuffledOrder(sentences.length, seed, 0);
  const chosen = new Set(Array.from(order.subarray(0, count), (i) => sentences[i]));
  const { train = [], validation = [] } = Object.groupBy(
    pairs,
    ({ source }) => chosen.has(source) ? "validation" : "train",
  );
  return { train, validation };
}

/** `count` English sentences, evenly spaced over the pairs, with their references. */
export function someSentences(pairs: SentencePair[], count: number): Sentence[] {
  const groups = [...Map.groupBy(pairs, (pair) => pair.source)];
  const step = Math.max(1, groups.length / count);
  return Array.from({ length: Math.min(count, groups.length) }, (_, i) => {
    const [source, translations] = groups[Math.floor((i + 0.5) * step)]!;
    return { source, references: translations.map((pair) => pair.target) };
  });
}
