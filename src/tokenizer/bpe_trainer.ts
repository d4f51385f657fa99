/**
 * Finds the merges of a byte pair encoding.
 *
 * Pairs are counted once; after a merge only the words that hold the pair are looked at again, and
 * only the counts around it change. A heap keeps the pairs in order.
 *
 * @module
 */
import { PairTable, type WordCounts } from "./hash_tables.ts";
import { Heap } from "./heap.ts";
import { MAX_VOCAB_SIZE } from "./merges.ts";

/** Tokens never grow beyond this many bytes. */
const MAX_TOKEN_BYTES = 1024;

/** A merge as it is found. */
interface FoundMerge {
  /** The two ids that merge. */
  pair: [number, number];
  /** How often they stood side by side. */
  count: number;
}

/**
 * The first `limit` merges over `words`: each time the pair that stands side by side most often; of
 * equals the one with the lower left id, then the lower right id. Bytes are ids 0 to 255, the n-th
 * merge makes id `256 + n`. There are fewer where no pair is left that stands `minFrequency` times.
 *
 * @param words the distinct words and their counts; pairs never cross words
 * @param onMerge called after each merge
 */
export function findMerges(
  words: WordCounts,
  limit: number,
  minFrequency: number,
  onMerge: (merge: FoundMerge) => void,
): void {
  const pairs = new PairCounts();
  const lengths = new Uint32Array(words.size);
  const tokens = new Int32Array(words.starts[words.size]!);
  const tokenBytes: number[] = new Array(256).fill(1);
  for (let word = 0; word < words.size; word++) {
    const start = words.starts[word]!, end = words.starts[word + 1]!;
    lengths[word] = end - start;
    for (let i = start; i < end; i++) {
      tokens[i] = words.bytes[i]!;
      if (i > start) pairs.add(tokens[i - 1]!, tokens[i]!, words.counts[word]!, word);
    }
  }
  pairs.enqueueNew();

  for (let found = 0; found < limit;) {
    const best = pairs.takeBest();
    if (best < 0 || pairs.counts[best]! < minFrequency) return;
    const left = pairs.left[best]!, right = pairs.right[best]!, count = pairs.counts[best]!;
    if (tokenBytes[left]! + tokenBytes[right]! > MAX_TOKEN_BYTES) continue;
    const id = 256 + found++;
    tokenBytes.push(tokenBytes[left]! + tokenBytes[right]!);
    for (const word of pairs.words[best]!) {
      lengths[word] = mergeInWord(pairs, tokens, words.starts[word]!, lengths[word]!, {
        left,
        right,
        id,
        word,
        times: words.counts[word]!,
      });
    }
    pairs.words[best] = [];
    pairs.enqueueNew();
    onMerge({ pair: [left, right], count });
  }
}

/** Replaces `left right` by `id` in one word, in place, keeps the counts, and tells the new length. */
function mergeInWord(
  pairs: PairCounts,
  tokens: Int32Array,
  start: number,
  length: number,
  { left, right, id, word, times }: {
    left: number;
    right: number;
    id: number;
    word: number;
    times: number;
  },
): number {
  const end = start + length;
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
  return to - start;
}

/**
 * How often each pair stands in the words, the most frequent first.
 *
 * Only pairs with the newest id ever gain, so a pair enters the heap once, after the merge that made
 * it; later it can but lose, which is put right when it comes to the top.
 */
class PairCounts {
  readonly left: number[] = [];
  readonly right: number[] = [];
  readonly counts: number[] = [];
  /** Words in which a pair stood when it was made; some may have lost it since. */
  readonly words: number[][] = [];
  readonly #index = new PairTable();
  /** The pairs by their counts, as these were when the heap last looked, then by left and right id. */
  readonly #heap = new Heap(1 << 12);
  /** Pairs that have been put into the heap. */
  #enqueued = 0;

  add(left: number, right: number, times: number, word: number): void {
    let pair = this.#index.get(left, right);
    if (pair < 0) {
      pair = this.counts.length;
      this.#index.set(left, right, pair);
      this.left.push(left);
      this.right.push(right);
      this.counts.push(0);
      this.words.push([]);
    }
    this.counts[pair]! += times;
    const words = this.words[pair]!;
    if (words.length === 0 || words[words.length - 1] !== word) words.push(word);
  }

  remove(left: number, right: number, times: number): void {
    this.counts[this.#index.get(left, right)]! -= times;
  }

  /** Puts the pairs made since the last call into the heap. */
  enqueueNew(): void {
    for (; this.#enqueued < this.counts.length; this.#enqueued++) {
      const pair = this.#enqueued;
      this.#heap.push(-this.counts[pair]!, this.left[pair]! * MAX_VOCAB_SIZE + this.right[pair]!);
    }
  }

  /** Takes the pair that comes first out of the heap; -1 if none is left. */
  takeBest(): number {
    const heap = this.#heap;
    while (heap.size > 0) {
      const { key, tie } = heap;
      const right = tie % MAX_VOCAB_SIZE;
      const pair = this.#index.get((tie - right) / MAX_VOCAB_SIZE, right);
      if (this.counts[pair] === -key) {
        heap.pop();
        return pair;
      }
      heap.replace(-this.counts[pair]!, tie);
    }
    return -1;
  }
}
