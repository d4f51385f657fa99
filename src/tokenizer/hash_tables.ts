/**
 * Hash tables over byte strings and pairs of ids. Hashes are seeded anew in every process, so that no text or file can be
 * made to collide on purpose; ids never depend on them.
 *
 * @module
 */

const PRIME = 0x01000193;

/** What the hash of an empty byte string is in this process. */
const HASH_SEED: number = crypto.getRandomValues(new Int32Array(1))[0]!;

/** FNV-1a over `bytes[start..end)`; `hash` continues the hash of the bytes before. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, hash = HASH_SEED): number {
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, PRIME);
  return hash;
}

/** Mixes the high bits down, for tables that index by the low ones. */
export function spread(hash: number): number {
  hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d);
  return hash ^ hash >>> 13;
}

/** The hash of two ids. */
function hashPair(left: number, right: number): number {
  return spread(Math.imul(left ^ HASH_SEED, 0x27d4eb2f) + Math.imul(right, 0x165667b1) | 0);
}

/** Whether `a` from `atA` and `b` from `atB` agree over `length` bytes. */
export function sameBytes(
  a: Uint8Array,
  atA: number,
  b: Uint8Array,
  atB: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) if (a[atA + i] !== b[atB + i]) return false;
  return true;
}

/** Open-addressing map from pairs of ids to an integer from 0 up. */
export class PairTable {
  /** Number of pairs. */
  size = 0;
  #mask: number;
  #left: Int32Array;
  #right: Int32Array;
  /** Value + 1; 0 is a free slot. */
  #values: Int32Array;

  /** An empty table. */
  constructor() {
    const slots = 1 << 10;
    this.#mask = slots - 1;
    this.#left = new Int32Array(slots);
    this.#right = new Int32Array(slots);
    this.#values = new Int32Array(slots);
  }

  /** The value of a pair, or -1. */
  get(left: number, right: number): number {
    return this.#values[this.#slot(left, right)]! - 1;
  }

  /** Sets the value of a pair. */
  set(left: number, right: number, value: number): void {
    const slot = this.#slot(left, right);
    const isNew = this.#values[slot] === 0;
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.#values[slot] = value + 1;
    if (isNew && ++this.size * 2 > this.#mask) this.#grow();
  }

  #slot(left: number, right: number): number {
    let slot = hashPair(left, right) & this.#mask;
    while (
      this.#values[slot] !== 0 && (this.#left[slot] !== left || this.#right[slot] !== right)
    ) slot = slot + 1 & this.#mask;
    return slot;
  }

  #grow(): void {
    const left = this.#left, right = this.#right, values = this.#values;
    const slots = values.length * 2;
    this.#mask = slots - 1;
    this.#left = new Int32Array(slots);
    this.#right = new Int32Array(slots);
    this.#values = new Int32Array(slots);
    for (let i = 0; i < values.length; i++) {
      if (values[i] === 0) continue;
      const slot = this.#slot(left[i]!, right[i]!);
      this.#left[slot] = left[i]!;
      this.#right[slot] = right[i]!;
      this.#values[slot] = values[i]!;
    }
  }
}

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

/**
 * A map from words to their ids, of bounded size: when it is full it starts anew. Natural text repeats its words, so most
 * are looked up here and merged once.
 */
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

/** The distinct words of a text and how often each stands there. */
export class WordCounts {
  /** Number of distinct words. */
  size = 0;
  /** The distinct words, end to end. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(1 << 16);
  /** Where word i begins in `bytes`; word i ends where word i + 1 begins. */
  starts: Uint32Array<ArrayBuffer> = new Uint32Array(1 << 12);
  /** How often word i was added. */
  counts: Float64Array<ArrayBuffer> = new Float64Array(1 << 12);
  #hashes = new Int32Array(1 << 12);
  /** Word + 1 by hash; 0 is a free slot. Twice as many as there is room for words. */
  #slots = new Int32Array(1 << 13);

  /** Counts the word `source[start..end)` once more. */
  add(source: Uint8Array, start: number, end: number): void {
    const hash = hashBytes(source, start, end);
    const length = end - start;
    let slot = spread(hash) & this.#slots.length - 1;
    for (; this.#slots[slot] !== 0; slot = slot + 1 & this.#slots.length - 1) {
      const word = this.#slots[slot]! - 1;
      const at = this.starts[word]!;
      if (
        this.#hashes[word] === hash && this.starts[word + 1]! - at === length &&
        sameBytes(this.bytes, at, source, start, length)
      ) {
        this.counts[word]!++;
        return;
      }
    }
    const at = this.starts[this.size]!;
    this.#reserve(at + length);
    for (let i = 0; i < length; i++) this.bytes[at + i] = source[start + i]!;
    this.#hashes[this.size] = hash;
    this.counts[this.size] = 1;
    this.#slots[slot] = ++this.size;
    this.starts[this.size] = at + length;
    if (this.size + 1 === this.starts.length) this.#grow();
  }

  #reserve(length: number): void {
    if (length <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(length, this.bytes.length * 2));
    grown.set(this.bytes);
    this.bytes = grown;
  }

  #grow(): void {
    const room = this.starts.length * 2;
    const starts = new Uint32Array(room);
    const counts = new Float64Array(room);
    const hashes = new Int32Array(room);
    starts.set(this.starts);
    counts.set(this.counts);
    hashes.set(this.#hashes);
    this.starts = starts;
    this.counts = counts;
    this.#hashes = hashes;
    this.#slots = new Int32Array(room * 2);
    for (let word = 0; word < this.size; word++) {
      let slot = spread(hashes[word]!) & this.#slots.length - 1;
      while (this.#slots[slot] !== 0) slot = slot + 1 & this.#slots.length - 1;
      this.#slots[slot] = word + 1;
    }
  }
}
