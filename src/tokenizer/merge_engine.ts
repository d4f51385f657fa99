/**
 * Byte pair encoding of one word (Sennrich et al., "Neural Machine Translation of Rare Words with
 * Subword Units", 2016; over bytes as in GPT-2): begin with one token a byte, and merge the two
 * neighbours whose merge has the lowest id, the leftmost of equals, until no two merge.
 *
 * @module
 */
import type { IdBuffer } from "./id_buffer.ts";
import type { MergeRules } from "./merge_rules.ts";

/** Words up to this many bytes look at all pairs for each merge; longer ones keep a heap. */
const SHORT = 48;
/** Higher than any id. */
const NO_MERGE = 0x7fffffff;
/** Heap keys are `id * 2^32 + position`, which a double holds exactly for ids below 2^21. */
const POSITIONS = 2 ** 32;

/** Highest number of ids that {@linkcode MergeEngine} takes. */
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

  /** Appends the ids of `bytes[start..end)` to `out` and tells how many they are. */
  encodeWord(bytes: Uint8Array, start: number, end: number, out: IdBuffer): number {
    const before = out.length;
    const whole = this.#rules.whole(bytes, start, end);
    if (whole >= 0) out.push(whole);
    else if (end - start <= SHORT) this.#mergeShort(bytes, start, end, out);
    else this.#mergeLong(bytes, start, end, out);
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

  /** The same in n log n: the parts are a linked list, their merges a heap. */
  #mergeLong(bytes: Uint8Array, start: number, end: number, out: IdBuffer): void {
    const count = end - start;
    const ids = new Int32Array(count);
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    // A part's merge as it stands; a heap entry that says otherwise is out of date.
    const merged = new Int32Array(count).fill(NO_MERGE);
    const heap = new KeyHeap(count);
    const consider = (at: number): void => {
      merged[at] = next[at]! < count ? this.#mergeOf(ids[at]!, ids[next[at]!]!) : NO_MERGE;
      if (merged[at] !== NO_MERGE) heap.push(merged[at] * POSITIONS + at);
    };
    for (let i = 0; i < count; i++) {
      ids[i] = this.#rules.byteIds[bytes[start + i]!]!;
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    for (let i = 0; i < count; i++) consider(i);
    for (let key = heap.pop(); key >= 0; key = heap.pop()) {
      const at = key % POSITIONS;
      if (merged[at] !== (key - at) / POSITIONS) continue;
      const right = next[at]!;
      ids[at] = merged[at];
      merged[right] = NO_MERGE;
      next[at] = next[right]!;
      if (next[at]! < count) previous[next[at]!] = at;
      consider(at);
      if (previous[at]! >= 0) consider(previous[at]!);
    }
    for (let i = 0; i < count; i = next[i]!) out.push(ids[i]!);
  }

  #mergeOf(left: number, right: number): number {
    const id = this.#rules.merge(left, right);
    return id < 0 ? NO_MERGE : id;
  }
}

/** A binary heap of numbers from 0 up, the lowest on top. */
class KeyHeap {
  #keys: Float64Array;
  #size = 0;

  constructor(capacity: number) {
    this.#keys = new Float64Array(capacity);
  }

  push(key: number): void {
    if (this.#size === this.#keys.length) {
      const grown = new Float64Array(this.#size * 2);
      grown.set(this.#keys);
      this.#keys = grown;
    }
    const keys = this.#keys;
    let at = this.#size++;
    while (at > 0) {
      const parent = at - 1 >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  /** Takes the lowest key; -1 if there is none. */
  pop(): number {
    if (this.#size === 0) return -1;
    const keys = this.#keys;
    const top = keys[0]!;
    const last = keys[--this.#size]!;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= last) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = last;
    return top;
  }
}
