/**
 * Hash tables over byte strings and pairs of ids. Hashes are seeded anew in every process, so that no text or file can
 * be crafted to collide; ids never depend on them.
 *
 * @module
 */

const PRIME = 0x01000193;

/** The hash of an empty byte string in this process. */
const HASH_SEED: number = crypto.getRandomValues(new Int32Array(1))[0]!;

/** FNV-1a over `bytes[start..end)`; `hash` continues the hash of earlier bytes. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, hash = HASH_SEED): number {
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, PRIME);
  return hash;
}

/** Mixes the high bits down, for tables indexed by the low ones. */
export function spread(hash: number): number {
  hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d);
  return hash ^ hash >>> 13;
}

/** Returns the hash of two ids. */
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

/** An open-addressing map from pairs of ids to integers of 0 or more. */
export class PairTable {
  /** The number of pairs. */
  size = 0;
  #mask: number;
  #left: Int32Array;
  #right: Int32Array;
  /** Value + 1; 0 is a free slot. */
  #values: Int32Array;

  /** Creates an empty table. */
  constructor() {
    const slots = 1 << 10;
    this.#mask = slots - 1;
    this.#left = new Int32Array(slots);
    this.#right = new Int32Array(slots);
    this.#values = new Int32Array(slots);
  }

  /** Returns the value of a pair, or -1. */
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

/** The number of slots. */
const SLOTS = 1 << 16;
/** The number of slots probed for a word: limits the cost of a lookup whatever the words are. */
const PROBES = 8;
/** The capacity for words and their ids, in 32-bit units: 2 MiB. */
const CAPACITY = 1 << 19;
/** A record is its word's hash, byte length, number of ids, the ids, and the word's bytes. */
const HEADER = 3;
/** Longer words are rare and seldom repeat. */
const MAX_WORD_BYTES = 256;

/**
 * A map from words to their ids, of bounded size: when it is full, it is emptied. Natural text repeats its words, so
 * most are looked up here and merged only once.
 */
export class WordCache {
  /** The records; a word's ids are at `record + 3`, `words[record + 2]` of them. */
  readonly words: Int32Array = new Int32Array(CAPACITY);
  readonly #bytes = new Uint8Array(this.words.buffer);
  /** The position of each slot's record in `words`; 0 is a free slot. */
  readonly #slots = new Int32Array(SLOTS);
  #used = 1;

  /** Returns the record of the word `bytes[start..end)`, whose hash is `hash`, or 0. */
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

  /** Stores `ids[firstId..firstId + count)` as the ids of a word that was not found. */
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

  /** Returns a free slot for the hash or, if there is none, its first one, whose word is dropped. */
  #freeSlot(hash: number): number {
    const first = spread(hash) & SLOTS - 1;
    for (let probe = 0; probe < PROBES; probe++) {
      const slot = first + probe & SLOTS - 1;
      if (this.#slots[slot] === 0) return slot;
    }
    return first;
  }
}

/** The distinct words of a text and how often each occurs. */
export class WordCounts {
  /** The number of distinct words. */
  size = 0;
  /** The distinct words, end to end. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(1 << 16);
  /** Where word i begins in `bytes`; word i ends where word i + 1 begins. */
  starts: Uint32Array<ArrayBuffer> = new Uint32Array(1 << 12);
  /** How often word i was added. */
  counts: Float64Array<ArrayBuffer> = new Float64Array(1 << 12);
  #hashes = new Int32Array(1 << 12);
  /** Word + 1 by hash; 0 is a free slot. Twice as many slots as the capacity for words. */
  #slots = new Int32Array(1 << 13);

  /** Counts an occurrence of the word `source[start..end)`. */
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
