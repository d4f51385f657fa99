/**
 * Byte pair encoding of a row of symbols: merge the two neighbours whose merge has the lowest rank, the leftmost of
 * equals, until no two merge. In n log n, since a text without spaces is one word.
 *
 * @module
 */
import type { IdBuffer } from "./id_buffer.ts";
import type { RankedMerges } from "./merge_rules.ts";

/** A heap's keys are `rank * 2^32 + position`, which a double holds exactly for ranks below 2^21. */
const POSITIONS = 2 ** 32;

/** Appends what the symbols `ids` merge into. Changes `ids`. */
export function mergeSymbols(
  ids: Int32Array,
  { ranks, results }: RankedMerges,
  out: IdBuffer,
): void {
  const count = ids.length;
  const next = Int32Array.from(ids, (_, i) => i + 1);
  const previous = Int32Array.from(ids, (_, i) => i - 1);
  // Each symbol's merge with the one after it as it stands; an entry of the heap that says otherwise is out of date.
  const current = new Int32Array(count).fill(-1);
  const heap: number[] = [];
  const consider = (at: number): void => {
    const right = next[at]!;
    current[at] = right < count ? ranks.get(ids[at]!, ids[right]!) : -1;
    if (current[at] >= 0) pushKey(heap, current[at] * POSITIONS + at);
  };
  for (let at = 0; at < count; at++) consider(at);
  while (heap.length > 0) {
    const key = popKey(heap);
    const at = key % POSITIONS;
    const rank = (key - at) / POSITIONS;
    if (current[at] !== rank) continue;
    const right = next[at]!;
    ids[at] = results[rank]!;
    current[right] = -1;
    next[at] = next[right]!;
    if (next[at]! < count) previous[next[at]!] = at;
    consider(at);
    if (previous[at]! >= 0) consider(previous[at]!);
  }
  for (let at = 0; at < count; at = next[at]!) out.push(ids[at]!);
}

/** Puts a key into a binary heap, the lowest on top. */
function pushKey(heap: number[], key: number): void {
  let at = heap.push(key) - 1;
  while (at > 0) {
    const parent = at - 1 >> 1;
    if (heap[parent]! <= key) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = key;
}

/** Takes the lowest key out of a heap that is not empty. */
function popKey(heap: number[]): number {
  const top = heap[0]!;
  const last = heap.pop()!;
  if (heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = at * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= last) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
