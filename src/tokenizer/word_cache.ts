/**
 * The ids of words seen before. Natural text repeats its words, so most are looked up here and
 * merged once.
 *
 * @module
 */
import { sameBytes, spread } from "./hash.ts";

/** Number of slots. */
const SLOTS = 1 << 16;
/** Slots looked at for one word: bounds the cost of a look-up whatever the words are. */
const PROBES = 8;
/** Room for the words and their ids, in 32-bit units: 2 MiB. */
const CAPACITY = 1 << 19;
/** A record is its word's hash, byte length, number of ids, the ids, and the word's bytes. */
const HEADER = 3;
/** Longer words are rare and seldom come back. */
const MAX_WORD_BYTES = 256;

/** A map from words to their ids, of bounded size: when it is full it starts anew. */
export class WordCache {
  /** The records; a word's ids are at `record + 3`, `words[record + 2]` of them. */
  readonly words: Int32Array = new Int32Array(CAPACITY);
  readonly #bytes = new Uint8Array(this.words.buffer);
  /** Where each slot's record is in `words`; 0 is a free slot. */
  readonly #slots = new Int32Array(SLOTS);
  #used = 1;

  /** The record of the word `bytes[start..end)` whose hash is `hash`, or 0. */
  find(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const words = this.words;
    const length = end - start;
    let slot = spread(hash) & SLOTS - 1;
    for (let probe = 0; probe < PROBES; probe++) {
      const record = this.#slots[slot]!;
      if (record === 0) return 0;
      if (
        words[record] === hash && words[record + 1] === length &&
        sameBytes(this.#bytes, (record + HEADER + words[record + 2]!) * 4, bytes, start, length)
      ) return record;
      slot = slot + 1 & SLOTS - 1;
    }
    return 0;
  }

  /** Keeps `ids[firstId..firstId + count)` as the ids of a word that was not found. */
  add(
    bytes: Uint8Array,
    start: number,
    end: number,
    hash: number,
    ids: Uint32Array,
    firstId: number,
    count: number,
  ): void {
    const length = end - start;
    if (length > MAX_WORD_BYTES) return;
    const size = HEADER + count + (length + 3 >> 2);
    if (this.#used + size > CAPACITY) {
      this.#slots.fill(0);
      this.#used = 1;
    }
    const record = this.#used;
    this.#used += size;
    this.words[record] = hash;
    this.words[record + 1] = length;
    this.words[record + 2] = count;
    for (let i = 0; i < count; i++) this.words[record + HEADER + i] = ids[firstId + i]!;
    const at = (record + HEADER + count) * 4;
    for (let i = 0; i < length; i++) this.#bytes[at + i] = bytes[start + i]!;
    this.#slots[this.#freeSlot(hash)] = record;
  }

  /** A free slot for the hash, or where there is none its first, whose word is forgotten. */
  #freeSlot(hash: number): number {
    const first = spread(hash) & SLOTS - 1;
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = first + probe & SLOTS - 1;
      if (this.#slots[slot] === 0) return slot;
    }
    return first;
  }
}
