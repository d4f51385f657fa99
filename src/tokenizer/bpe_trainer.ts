/**
 * Finds the merges of a byte pair encoding.
 *
 * Pairs are counted once; after a merge only the words that contain the pair are visited again, and only the counts
 * around it change. A heap keeps the pairs in order.
 *
 * @module
 */
import { PairTable, type WordCounts } from "./hash_tables.ts";
import { Heap } from "./heap.ts";
import { MAX_VOCAB_SIZE } from "./merges.ts";

/** Tokens never grow beyond this many bytes. */
const MAX_TOKEN_BYTES = 1024;
/** The maximum number of different pairs, so that a position in the words and a pair together make one exact number. */
const MAX_PAIRS = 2 ** 24;

/**
 * Which of several equally frequent pairs is merged: the one with the lower left id and then the lower right id, as in
 * Hugging Face's trainer, or the one that comes first in the text, as in minbpe.
 */
export type TieRule = "lowest" | "first";

/** A merge as it is found. */
interface FoundMerge {
  /** The two ids that are merged. */
  pair: [number, number];
  /** How often they occurred side by side. */
  count: number;
}

/**
 * Returns the first `limit` merges over `words`: each time the most frequent pair of neighbours, with ties broken by
 * `ties`. Bytes are ids 0 to 255, and the n-th merge creates id `256 + n`. There are fewer merges if no pair is left
 * that occurs `minFrequency` times.
 *
 * @param words the distinct words and their counts, in the order of the text; pairs never cross words
 * @param onMerge called after each merge
 */
export function findMerges(
  words: WordCounts,
  { limit, minFrequency, ties }: { limit: number; minFrequency: number; ties: TieRule },
  onMerge: (merge: FoundMerge) => void,
): void {
  const text = new WordTokens(words);
  const pairs = new PairCounts(text, ties);
  for (let word = 0; word < words.size; word++) {
    const start = words.starts[word]!, end = start + text.lengths[word]!;
    for (let i = start + 1; i < end; i++) {
      pairs.add(text.tokens[i - 1]!, text.tokens[i]!, words.counts[word]!, word);
    }
  }
  pairs.enqueueNew();

  for (let found = 0; found < limit;) {
    const best = pairs.takeBest();
    if (best < 0 || pairs.counts[best]! < minFrequency) return;
    const left = pairs.left[best]!, right = pairs.right[best]!, count = pairs.counts[best]!;
    const bytes = text.bytes[left]! + text.bytes[right]!;
    if (bytes > MAX_TOKEN_BYTES) continue;
    const id = 256 + found++;
    text.bytes.push(bytes);
    for (const word of pairs.words[best]!) mergeInWord(pairs, text, word, { left, right, id });
    pairs.words[best] = [];
    pairs.enqueueNew();
    onMerge({ pair: [left, right], count });
  }
}

/** The words as tokens. */
class WordTokens {
  /** The tokens of each word, starting where its bytes begin; entries after its length are unused. */
  readonly tokens: Int32Array<ArrayBuffer>;
  /** The number of tokens of each word. */
  readonly lengths: Uint32Array<ArrayBuffer>;
  /** The number of bytes of each token. */
  readonly bytes: number[] = new Array(256).fill(1);

  constructor(readonly words: WordCounts) {
    this.tokens = Int32Array.from(words.bytes.subarray(0, words.starts[words.size]));
    this.lengths = Uint32Array.from(
      { length: words.size },
      (_, word) => words.starts[word + 1]! - words.starts[word]!,
    );
  }

  /** Returns the byte offset, over all words, at which `left right` first occurs in a word; -1 if it does not. */
  find(word: number, left: number, right: number): number {
    const start = this.words.starts[word]!, last = start + this.lengths[word]! - 1;
    for (let i = start, byte = start; i < last; byte += this.bytes[this.tokens[i++]!]!) {
      if (this.tokens[i] === left && this.tokens[i + 1] === right) return byte;
    }
    return -1;
  }
}

/** Replaces `left right` by `id` in one word, in place, and updates the counts. */
function mergeInWord(
  pairs: PairCounts,
  { tokens, lengths, words }: WordTokens,
  word: number,
  { left, right, id }: { left: number; right: number; id: number },
): void {
  const start = words.starts[word]!, end = start + lengths[word]!, times = words.counts[word]!;
  let to = start;
  for (let from = start; from < end; to++) {
    if (from + 1 === end || tokens[from] !== left || tokens[from + 1] !== right) {
      tokens[to] = tokens[from++]!;
      continue;
    }
    from += 2;
    pairs.remove(left, right, times);
    if (to > start) {
      pairs.remove(tokens[to - 1]!, left, times);
      pairs.add(tokens[to - 1]!, id, times, word);
    }
    if (from < end) {
      pairs.remove(right, tokens[from]!, times);
      pairs.add(id, tokens[from]!, times, word);
    }
    tokens[to] = id;
  }
  lengths[word] = to - start;
}

/**
 * How often each pair occurs in the words, most frequent first.
 *
 * Only pairs with the newest id ever gain occurrences, so a pair enters the heap once, after the merge that created it.
 * Later its count can only fall and its first position only move back, which is corrected when it comes to the top.
 */
class PairCounts {
  readonly left: number[] = [];
  readonly right: number[] = [];
  readonly counts: number[] = [];
  /** The words in which a pair occurred when it was created; some may have lost it since. */
  readonly words: number[][] = [];
  readonly #index = new PairTable();
  /** The number of entries of `words` found to have lost the pair. */
  readonly #lost: number[] = [];
  /** The pairs by their counts, as of when the heap last looked, then by the rule for ties. */
  readonly #heap = new Heap(1 << 12);
  /** The number of pairs that have been put into the heap. */
  #enqueued = 0;

  constructor(readonly text: WordTokens, readonly ties: TieRule) {}

  add(left: number, right: number, times: number, word: number): void {
    let pair = this.#index.get(left, right);
    if (pair < 0) {
      pair = this.counts.length;
      this.#index.set(left, right, pair);
      this.left.push(left);
      this.right.push(right);
      this.counts.push(0);
      this.words.push([]);
      this.#lost.push(0);
    }
    this.counts[pair]! += times;
    const words = this.words[pair]!;
    if (words.length === 0 || words[words.length - 1] !== word) words.push(word);
  }

  remove(left: number, right: number, times: number): void {
    this.counts[this.#index.get(left, right)]! -= times;
  }

  /** Puts the pairs created since the last call into the heap. */
  enqueueNew(): void {
    for (; this.#enqueued < this.counts.length; this.#enqueued++) {
      const pair = this.#enqueued;
      this.#heap.push(-this.counts[pair]!, this.#tieOf(pair));
    }
  }

  /** Removes and returns the top pair of the heap; -1 if none is left. */
  takeBest(): number {
    const heap = this.#heap;
    while (heap.size > 0) {
      const { key, tie } = heap;
      const pair = this.#pairOf(tie);
      const now = this.#tieOf(pair);
      if (this.counts[pair] === -key && tie === now) {
        heap.pop();
        return pair;
      }
      heap.replace(-this.counts[pair]!, now);
    }
    return -1;
  }

  /** Returns a number that identifies the pair and breaks ties, the lower first. */
  #tieOf(pair: number): number {
    const left = this.left[pair]!, right = this.right[pair]!;
    if (this.ties === "lowest") return left * MAX_VOCAB_SIZE + right;
    const words = this.words[pair]!;
    for (let i = this.#lost[pair]!; i < words.length; this.#lost[pair] = ++i) {
      const byte = this.text.find(words[i]!, left, right);
      if (byte >= 0) return byte * MAX_PAIRS + pair;
    }
    return pair; // gone from all words, so without a count
  }

  #pairOf(tie: number): number {
    if (this.ties === "first") return tie % MAX_PAIRS;
    const right = tie % MAX_VOCAB_SIZE;
    return this.#index.get((tie - right) / MAX_VOCAB_SIZE, right);
  }
}
