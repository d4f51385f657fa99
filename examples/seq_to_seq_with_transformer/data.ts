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
  /** All pairs that were read, those that are too long among them. */
  pairs: SentencePair[];
  train: SentencePair[];
  validation: SentencePair[];
  source: TextVocabulary;
  target: TextVocabulary;
  trainRows: TranslationRows;
  validationRows: TranslationRows;
  /** Pairs to show translations of, none of them cut: those held out, if any, before those trained on. */
  shown: { name: string; pairs: SentencePair[] }[];
  /** A line for people. */
  description: string;
}

/** An English sentence and every French one that stands for it. */
export interface Sentence {
  source: string;
  references: string[];
}

/** Reads the pairs, drops what is too long or cuts it, holds some sentences out, counts the words of the others. */
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

/** The pairs of a file, or the download, with a bar. */
async function readPairs(data: string | undefined): Promise<SentencePair[]> {
  if (data !== undefined) return await loadEnglishFrench({ path: data });
  using progress = await openProgress({ label: "download", total: 8e6, unit: "bytes" });
  try {
    // Beside the runs, so that no other folder has to be permitted.
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
 * Holds out whole English sentences with all their translations: the same sentence on both sides would make
 * the validation a test of memory.
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

/** `count` English sentences, evenly spread over the pairs, with their references. */
export function someSentences(pairs: SentencePair[], count: number): Sentence[] {
  const groups = [...Map.groupBy(pairs, (pair) => pair.source)];
  const step = Math.max(1, groups.length / count);
  return Array.from({ length: Math.min(count, groups.length) }, (_, i) => {
    const [source, translations] = groups[Math.floor((i + 0.5) * step)]!;
    return { source, references: translations.map((pair) => pair.target) };
  });
}
