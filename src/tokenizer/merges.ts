/**
 * Byte pair encoding (Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016): merge the
 * two neighbours whose merge has the lowest rank, the leftmost of equals, until no two can merge. Over bytes it begins
 * with one token per byte, as in GPT-2; over characters as in SentencePiece.
 *
 * @module
 */
import { hashBytes, type PairTable, sameBytes, spread } from "./hash_tables.ts";
import { Heap } from "./heap.ts";
import { type IdBuffer, textOfBytes, type Vocabulary } from "./vocabulary.ts";

/**
 * The merges of a tokenizer, as numbers of which the lower merges first: the number of a token is its id, or another
 * one that `idOf` maps to it.
 */
export interface MergeRules {
  /** The id of each single byte: 256 entries. */
  readonly byteIds: ArrayLike<number>;
  /** Returns the number that `left` followed by `right` merges into, or -1. */
  merge(left: number, right: number): number;
  /** Returns the id of `bytes[start..end)` if it is known without merging, or -1. */
  whole(bytes: Uint8Array, start: number, end: number): number;
  /** Returns the id of a number. */
  idOf(number: number): number;
}

/** The merges of a file: the n-th pair of ids merges into the n-th result, lower n first. */
export interface RankedMerges {
  /** Maps the two ids to n. */
  readonly ranks: PairTable;
  /** The pairs of ids, end to end. */
  readonly pairs: Int32Array;
  /** The ids that the merges create. */
  readonly results: Int32Array;
}

/** Merges by rank: token t is number t, and the result of the n-th merge is number V + n, whatever its id. */
export class RankedMergeRules implements MergeRules {
  /** The id of each single byte. */
  readonly byteIds: ArrayLike<number>;
  readonly #merges: RankedMerges;
  readonly #vocabSize: number;
  readonly #whole: ReadonlyMap<string, number> | undefined;

  /**
   * @param vocabSize V
   * @param whole ids of tokens, as `tokenizer.json` writes them, for words that are not merged if they are a token
   */
  constructor(
    merges: RankedMerges,
    vocabSize: number,
    byteIds: ArrayLike<number>,
    whole?: ReadonlyMap<string, number>,
  ) {
    this.byteIds = byteIds;
    this.#merges = merges;
    this.#vocabSize = vocabSize;
    this.#whole = whole;
  }

  /** @inheritdoc */
  idOf(number: number): number {
    return number < this.#vocabSize ? number : this.#merges.results[number - this.#vocabSize]!;
  }

  /** @inheritdoc */
  merge(left: number, right: number): number {
    const rank = this.#merges.ranks.get(this.idOf(left), this.idOf(right));
    return rank < 0 ? -1 : this.#vocabSize + rank;
  }

  /** @inheritdoc */
  whole(bytes: Uint8Array, start: number, end: number): number {
    return this.#whole?.get(textOfBytes(bytes.subarray(start, end))) ?? -1;
  }
}

/**
 * Merges defined by the tokens alone, as in tiktoken: two tokens merge if their bytes, end to end, are a token, and a
 * word that is a token is that token.
 */
export class VocabularyMergeRules implements MergeRules {
  /** The ids of the tokens of one byte. */
  readonly byteIds: ArrayLike<number>;
  readonly #vocabulary: Vocabulary;
  /** Id + 1 by the hash of the bytes; 0 is a free slot. */
  readonly #slots: Int32Array;
  readonly #mask: number;
  /** The hash of each token, to be continued with the bytes of its right neighbour. */
  readonly #hashes: Int32Array;
  readonly #longest: number;

  /**
   * @param vocabulary the tokens in the order of their ranks, special ones left out
   * @throws {Error} if a byte has no token
   */
  constructor(vocabulary: Vocabulary) {
    const { bytes, starts, size } = vocabulary;
    let slots = 1024;
    while (slots < size * 2) slots *= 2;
    this.#vocabulary = vocabulary;
    this.#mask = slots - 1;
    this.#slots = new Int32Array(slots);
    this.#hashes = new Int32Array(size);
    const byteIds = new Int32Array(256).fill(-1);
    let longest = 0;
    for (let id = 0; id < size; id++) {
      const start = starts[id]!, end = starts[id + 1]!;
      if (end - start > longest) longest = end - start;
      if (end - start === 1) byteIds[bytes[start]!] = id;
      const hash = this.#hashes[id] = hashBytes(bytes, start, end);
      let slot = spread(hash) & this.#mask;
      while (this.#slots[slot] !== 0) slot = slot + 1 & this.#mask;
      this.#slots[slot] = id + 1;
    }
    const missing = byteIds.indexOf(-1);
    if (missing >= 0) throw new Error(`expected a token for the byte ${missing} but got none`);
    this.byteIds = byteIds;
    this.#longest = longest;
  }

  /** @inheritdoc */
  merge(left: number, right: number): number {
    const { bytes, starts } = this.#vocabulary;
    const leftStart = starts[left]!, leftLength = starts[left + 1]! - leftStart;
    const rightStart = starts[right]!, length = leftLength + starts[right + 1]! - rightStart;
    if (length > this.#longest) return -1;
    const hash = hashBytes(bytes, rightStart, starts[right + 1]!, this.#hashes[left]);
    let slot = spread(hash) & this.#mask;
    for (;;) {
      const id = this.#slots[slot]! - 1;
      if (id < 0) return -1;
      const start = starts[id]!;
      if (
        this.#hashes[id] === hash && starts[id + 1]! - start === length &&
        sameBytes(bytes, start, bytes, leftStart, leftLength) &&
        sameBytes(bytes, start + leftLength, bytes, rightStart, length - leftLength)
      ) return id;
      slot = slot + 1 & this.#mask;
    }
  }

  /** @inheritdoc */
  idOf(number: number): number {
    return number;
  }

  /** @inheritdoc */
  whole(word: Uint8Array, start: number, end: number): number {
    if (end - start > this.#longest) return -1;
    const { bytes, starts } = this.#vocabulary;
    const hash = hashBytes(word, start, end);
    let slot = spread(hash) & this.#mask;
    for (;;) {
      const id = this.#slots[slot]! - 1;
      if (id < 0) return -1;
      if (
        this.#hashes[id] === hash && starts[id + 1]! - starts[id]! === end - start &&
        sameBytes(bytes, starts[id]!, word, start, end - start)
      ) return id;
      slot = slot + 1 & this.#mask;
    }
  }
}

/** Words of up to this many bytes check all pairs for each merge; longer ones use a heap. */
const SHORT = 48;
/** Higher than any id. */
const NO_MERGE = 0x7fffffff;

/** The maximum number of ids that {@linkcode MergeEngine} supports. */
export const MAX_VOCAB_SIZE: number = 2 ** 21;

/** Encodes words by the merges it was made with. */
export class MergeEngine {
  readonly #rules: MergeRules;
  readonly #ids = new Int32Array(SHORT);
  /** What position i and its right neighbour merge into. */
  readonly #merged = new Int32Array(SHORT);

  /** @param rules which pairs merge */
  constructor(rules: MergeRules) {
    this.#rules = rules;
  }

  /** Appends the ids of `bytes[start..end)` to `out` and returns how many there are. */
  encodeWord(bytes: Uint8Array, start: number, end: number, out: IdBuffer): number {
    const before = out.length;
    const whole = this.#rules.whole(bytes, start, end);
    if (whole >= 0) out.push(whole);
    else if (end - start <= SHORT) this.#mergeShort(bytes, start, end, out);
    else this.mergeLong(this.#numbersOf(bytes, start, end), out);
    return out.length - before;
  }

  #mergeShort(bytes: Uint8Array, start: number, end: number, out: IdBuffer): void {
    const ids = this.#ids, merged = this.#merged;
    let count = end - start;
    for (let i = 0; i < count; i++) ids[i] = this.#rules.byteIds[bytes[start + i]!]!;
    for (let i = 0; i + 1 < count; i++) merged[i] = this.#mergeOf(ids[i]!, ids[i + 1]!);
    while (count > 1) {
      let best = 0;
      for (let i = 1; i + 1 < count; i++) if (merged[i]! < merged[best]!) best = i;
      if (merged[best] === NO_MERGE) break;
      ids[best] = merged[best]!;
      count--;
      for (let i = best + 1; i < count; i++) {
        ids[i] = ids[i + 1]!;
        merged[i - 1] = merged[i]!;
      }
      if (best + 1 < count) merged[best] = this.#mergeOf(ids[best]!, ids[best + 1]!);
      if (best > 0) merged[best - 1] = this.#mergeOf(ids[best - 1]!, ids[best]!);
    }
    out.reserve(count);
    for (let i = 0; i < count; i++) out.data[out.length++] = ids[i]!;
  }

  /**
   * Merges a row of token numbers and appends the resulting numbers, in n log n: the parts are a linked list, their
   * merges a heap.
   */
  mergeLong(numbers: Int32Array, out: IdBuffer): void {
    const count = numbers.length;
    const next = new Int32Array(count), previous = new Int32Array(count);
    // The current merge of a part; a heap entry that differs is out of date.
    const merged = new Int32Array(count).fill(NO_MERGE);
    const heap = new Heap(count);
    const consider = (at: number): void => {
      merged[at] = next[at]! < count ? this.#mergeOf(numbers[at]!, numbers[next[at]!]!) : NO_MERGE;
      if (merged[at] !== NO_MERGE) heap.push(merged[at], at);
    };
    for (let i = 0; i < count; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    for (let i = 0; i < count; i++) consider(i);
    while (heap.size > 0) {
      const { key, tie: at } = heap;
      heap.pop();
      if (merged[at] !== key) continue;
      const right = next[at]!;
      numbers[at] = key;
      merged[right] = NO_MERGE;
      next[at] = next[right]!;
      if (next[at]! < count) previous[next[at]!] = at;
      consider(at);
      if (previous[at]! >= 0) consider(previous[at]!);
    }
    for (let i = 0; i < count; i = next[i]!) out.push(numbers[i]!);
  }

  #numbersOf(bytes: Uint8Array, start: number, end: number): Int32Array {
    const numbers = new Int32Array(end - start);
    for (let i = 0; i < numbers.length; i++) numbers[i] = this.#rules.byteIds[bytes[start + i]!]!;
    return numbers;
  }

  #mergeOf(left: number, right: number): number {
    const id = this.#rules.merge(left, right);
    return id < 0 ? NO_MERGE : id;
  }
}
