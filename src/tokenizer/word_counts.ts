/** Counts distinct words, for the trainer. */
import { hashBytes, sameBytes, spread } from "./hash.ts";

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
