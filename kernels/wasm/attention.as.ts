// Attention that never stores the T x T matrix (Dao et al., 2022), built from the packed panels of gemm.as.ts.
// Keys are processed in blocks, whose panels are packed once for a block of queries; queries are processed in strips
// whose scores fit in the L1 cache. The order of all sums depends only on the fixed block sizes, so results do not
// depend on the number of threads.
// Query i is at `position + i`, key j at `(j + 1) * step - 1`. A query sees the keys up to its own position (all keys
// if `step` is 0); with a `block`, only those in its own block of that many positions; with a `window`, only the last
// that many.

import { packA, packATransposed, packB, packBTransposed, packedProduct } from "./gemm.as";
import { f16_to_f32 } from "./half.as";
import { int8_to_f32 } from "./int8_rows.as";
import { scratch } from "./layout.as";
import { largest, madd, sumLanes, vexpNegative, vlog } from "./math.as";
import { dropoutFactors } from "./random.as";

/** Keys that are packed at a time. */

const KEYS = 128;

/** Queries of a strip, forward and backward; multiples of 5, the rows of the micro-kernel. */

const STRIP = 20;

const BACK_STRIP = 40;

/** The most queries of a task, and the largest head size. */

const MAX_QUERIES = 240;

const MAX_HEAD = 256;

function expOf(x: f32): f32 {
  return f32x4.extract_lane(vexpNegative(f32x4.splat(x)), 0);
}

/** x *= factor over n floats. */

function scaleBy(x: usize, n: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = x + (<usize> i << 2);
    v128.store(at, f32x4.mul(v128.load(at), f));
  }
  for (; i < n; i++) {
    const at = x + (<usize> i << 2);
    store<f32>(at, load<f32>(at) * factor);
  }
}

/** x *= y over n floats. */

function multiplyBy(x: usize, y: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2;
    v128.store(x + at, f32x4.mul(v128.load(x + at), v128.load(y + at)));
  }
  for (; i < n; i++) {
    const at = <usize> i << 2;
    store<f32>(x + at, load<f32>(x + at) * load<f32>(y + at));
  }
}

/** x = exp(x - shift) over n floats, zeros from there to `width`; returns the sum. */

function exponentials(x: usize, n: i32, width: i32, shift: f32): f32 {
  const s = f32x4.splat(shift);
  let sum = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = x + (<usize> i << 2);
    const e = vexpNegative(f32x4.sub(v128.load(at), s));
    v128.store(at, e);
    sum = f32x4.add(sum, e);
  }
  let total = sumLanes(sum);
  for (; i < n; i++) {
    const at = x + (<usize> i << 2);
    const e = vexpNegative(f32x4.sub(v128.load32_zero(at), s));
    v128.store32_lane(at, e, 0);
    total += f32x4.extract_lane(e, 0);
  }
  for (; i < width; i++) store<f32>(x + (<usize> i << 2), 0);
  return total;
}

function dot(a: usize, b: usize, n: i32): f32 {
  let u = f32x4.splat(0), v = u;
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = <usize> i << 2;
    u = madd(v128.load(a + at), v128.load(b + at), u);
    v = madd(v128.load(a + at, 16), v128.load(b + at, 16), v);
  }
  let sum = sumLanes(f32x4.add(u, v));
  for (; i < n; i++) sum += load<f32>(a + (<usize> i << 2)) * load<f32>(b + (<usize> i << 2));
  return sum;
}

/** The dot products of a with four rows of `n` floats, `apart` bytes apart. */

function dots(a: usize, b: usize, apart: usize, n: i32): v128 {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  const b1 = b + apart, b2 = b1 + apart, b3 = b2 + apart;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2, x = v128.load(a + at);
    s0 = madd(x, v128.load(b + at), s0);
    s1 = madd(x, v128.load(b1 + at), s1);
    s2 = madd(x, v128.load(b2 + at), s2);
    s3 = madd(x, v128.load(b3 + at), s3);
  }
  for (; i < n; i++) {
    const at = <usize> i << 2, x = v128.load32_zero(a + at);
    s0 = madd(x, v128.load32_zero(b + at), s0);
    s1 = madd(x, v128.load32_zero(b1 + at), s1);
    s2 = madd(x, v128.load32_zero(b2 + at), s2);
    s3 = madd(x, v128.load32_zero(b3 + at), s3);
  }
  const l = f32x4.add(
    v128.shuffle<f32>(s0, s1, 0, 4, 1, 5),
    v128.shuffle<f32>(s0, s1, 2, 6, 3, 7),
  );
  const h = f32x4.add(
    v128.shuffle<f32>(s2, s3, 0, 4, 1, 5),
    v128.shuffle<f32>(s2, s3, 2, 6, 3, 7),
  );
  return f32x4.add(v128.shuffle<f32>(l, h, 0, 1, 4, 5), v128.shuffle<f32>(l, h, 2, 3, 6, 7));
}

/** y += the sum of `count` (1 to 4) rows of x, `apart` bytes apart, times the factors at `a`, over n floats. */

function addScaled(y: usize, x: usize, apart: usize, count: i32, a: usize, n: i32): void {
  // A missing row is replaced by the first one, times 0.
  const a0 = v128.load32_splat(a), none = f32x4.splat(0);
  const a1 = count > 1 ? v128.load32_splat(a, 4) : none;
  const a2 = count > 2 ? v128.load32_splat(a, 8) : none;
  const a3 = count > 3 ? v128.load32_splat(a, 12) : none;
  const x1 = count > 1 ? x + apart : x, x2 = count > 2 ? x1 + apart : x;
  const x3 = count > 3 ? x2 + apart : x;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2;
    let sum = madd(v128.load(x + at), a0, v128.load(y + at));
    sum = madd(v128.load(x1 + at), a1, sum);
    sum = madd(v128.load(x2 + at), a2, sum);
    v128.store(y + at, madd(v128.load(x3 + at), a3, sum));
  }
  for (; i < n; i++) {
    const at = <usize> i << 2;
    let sum = madd(v128.load32_zero(x + at), a0, v128.load32_zero(y + at));
    sum = madd(v128.load32_zero(x1 + at), a1, sum);
    sum = madd(v128.load32_zero(x2 + at), a2, sum);
    v128.store32_lane(y + at, madd(v128.load32_zero(x3 + at), a3, sum), 0);
  }
}

/** Adds -inf to the scores of keys that may not be seen; `valid` is the address of the block's first flag. */

function maskKeys(scores: usize, valid: usize, n: i32): void {
  for (let j = 0; j < n; j++) {
    const at = <usize> j << 2;
    if (load<i32>(valid + at) == 0) store<f32>(scores + at, -Infinity);
  }
}

/** The first key that a query at `position` may see, relative to the key `from`, at most `width`. */

export function first_seen(position: i32, block: i32, window: i32, from: i32, width: i32): i32 {
  let first = block ? position / block * block : 0;
  if (window) first = max(first, position + 1 - window);
  return max(0, min(width, first - from));
}

/** One past the last key that a query at `position` may see, relative to the key `from`, at most `width`. */

export function end_seen(position: i32, step: i32, from: i32, width: i32): i32 {
  return step ? max(0, min(width, max(0, position + 1) / step - from)) : width;
}

/**
 * Folds one row of scores into the running softmax: scores become exp(score - maximum), `out` (d floats) is rescaled,
 * and the row's maximum and sum (two floats at `state`) are updated.
 */

function foldRow(scores: usize, n: i32, width: i32, state: usize, out: usize, d: i32): void {
  const before = load<f32>(state);
  const top = max<f32>(before, largest(scores, n));
  if (top == -Infinity) {
    memory.fill(scores, 0, <usize> width << 2);
    return;
  }
  const sum = exponentials(scores, n, width, top);
  if (before != top) {
    const factor = expOf(before - top);
    store<f32>(state, load<f32>(state, 4) * factor + sum, 4);
    store<f32>(state, top);
    scaleBy(out, d, factor);
  } else store<f32>(state, load<f32>(state, 4) + sum, 4);
}

/**
 * Folds `height` rows of scores, `scoresRow` bytes apart, into the running softmax of their queries, the first of which stands
 * at position `at`. The scores are those of the keys [from, from + seen) of the `width` keys from key j on; they become
 * weights, 0 where a key is not seen. `states` has two floats a query, `out` its sum of values, `outRow` bytes apart;
 * `random` is the first block of random numbers of the first row, which has `fours` of them.
 */
export function fold_attention(
  scores: usize,
  scoresRow: usize,
  height: i32,
  at: i32,
  step: i32,
  block: i32,
  window: i32,
  j: i32,
  width: i32,
  from: i32,
  seen: i32,
  valid: usize,
  states: usize,
  out: usize,
  outRow: usize,
  d: i32,
  factors: usize,
  random: i32,
  fours: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  dropout: f32,
  keptScale: f32,
): void {
  for (let i = 0; i < height; i++) {
    const own = <usize> i;
    const skip = min(seen, first_seen(at + i, block, window, j, width) - from);
    const n = max(0, end_seen(at + i, step, j, width) - from - skip);
    const all = scores + own * scoresRow, row = all + (<usize> skip << 2);
    memory.fill(all, 0, <usize> skip << 2);
    if (valid) maskKeys(row, valid + (<usize> (from + skip) << 2), n);
    foldRow(row, n, seen - skip, states + (own << 3), out + own * outRow, d);
    if (dropout > 0) {
      const drawn = random + i * fours + (j + from >> 2);
      // deno-fmt-ignore
      dropoutFactors(factors, seen, drawn, seedLow, seedHigh, blockLow, blockHigh, dropout, keptScale);
      multiplyBy(all, factors, seen);
    }
  }
}

/** o = out / sum, and the log of the row's sum of exponentials; for a row that saw no key, 0 and +inf. */

function finishRow(o: usize, out: usize, state: usize, d: i32, lse: usize): void {
  const sum = load<f32>(state, 4);
  if (sum == 0) {
    memory.fill(o, 0, <usize> d << 2);
    if (lse) store<f32>(lse, Infinity);
    return;
  }
  memory.copy(o, out, <usize> d << 2);
  scaleBy(o, d, <f32> 1 / sum);
  if (lse) {
    store<f32>(lse, load<f32>(state) + f32x4.extract_lane(vlog(f32x4.splat(sum)), 0));
  }
}

/** Zeros `rows` rows of `d` floats, `rowBytes` bytes apart. */
export function zero_rows(at: usize, rowBytes: usize, rows: i32, d: i32): void {
  for (let i = 0; i < rows; i++) memory.fill(at + <usize> i * rowBytes, 0, <usize> d << 2);
}

/** Begins the running softmax of so many queries. */
export function begin_attention(states: usize, out: usize, outRow: usize, rows: i32, d: i32): void {
  zero_rows(out, outRow, rows, d);
  for (let i = 0; i < rows; i++) {
    const own = <usize> i;
    store<f32>(states + (own << 3), -Infinity);
    store<f32>(states + (own << 3), 0, 4);
  }
}

/** Finishes it: see `finishRow`. */
export function finish_attention(
  o: usize,
  oRow: usize,
  out: usize,
  outRow: usize,
  states: usize,
  rows: i32,
  d: i32,
  lse: usize,
): void {
  for (let i = 0; i < rows; i++) {
    const own = <usize> i, at = own * oRow;
    finishRow(o + at, out + own * outRow, states + (own << 3), d, lse ? lse + (own << 2) : 0);
  }
}

/** Formats of keys and values; heads of int8 are those of int8_rows.as.ts, with strides in words. */
const F32 = 0, F16 = 1;

/** The exponent of the bytes of an element, or of a word of int8. */
// @ts-ignore: decorator
@inline
function shiftOf(format: i32): usize {
  return format == F16 ? 1 : 2;
}

/** y (rows, heads, d) of f32 = x, which is of f16 or int8, by its strides. */
export function heads_to_f32(
  format: i32,
  x: usize,
  time: usize,
  head: usize,
  rows: i32,
  heads: i32,
  d: i32,
  y: usize,
): void {
  const shift = shiftOf(format);
  for (let r: usize = 0; r < <usize> rows; r++) {
    for (let h: usize = 0; h < <usize> heads; h++) {
      const from = x + (r * time + h * head << shift);
      if (format == F16) f16_to_f32(0, 0, d, from, y);
      else int8_to_f32(from, d, y);
      y += <usize> d << 2;
    }
  }
}

/**
 * Forward, tasks [start, end) of batch * heads * ceil(queries / queryBlock).
 *
 * q is [batch, queries, heads, d], strided by batch, head and time with a contiguous last axis; so are o, and k and v
 * with `kvHeads` heads (query head h uses h / (heads / kvHeads)). lse is [batch, heads, queries] or 0. `keyValid` is
 * int32 [batch, keys], `validBatch` apart, 0 where a key may not be seen; or 0 for none. `positions` is int32 [batch]
 * with the `position` of each sequence, or 0 if all have the same. With `dropout` above 0, weights are dropped at
 * random: each row of weights begins with a new block of the stream given by the seed and the first block (see
 * random.as.ts). Unless the `format` of k and v is f32, a block of keys at a time is converted to it.
 */
export function attention(
  thread: i32,
  start: i32,
  end: i32,
  q: usize,
  k: usize,
  v: usize,
  o: usize,
  lse: usize,
  keyValid: usize,
  heads: i32,
  kvHeads: i32,
  queries: i32,
  keys: i32,
  d: i32,
  qBatch: usize,
  qHead: usize,
  qTime: usize,
  kBatch: usize,
  kHead: usize,
  kTime: usize,
  vBatch: usize,
  vHead: usize,
  vTime: usize,
  oBatch: usize,
  oHead: usize,
  oTime: usize,
  validBatch: usize,
  scale: f32,
  step: i32,
  block: i32,
  window: i32,
  position: i32,
  positions: usize,
  queryBlock: i32,
  format: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  dropout: f32,
  keptScale: f32,
): void {
  const edge = scratch(thread);
  const qPack = edge + 256;
  const kPack = qPack + MAX_QUERIES * MAX_HEAD * 4;
  const vPack = kPack + KEYS * MAX_HEAD * 4;
  const scores = vPack + KEYS * MAX_HEAD * 4;
  const pPack = scores + STRIP * KEYS * 4;
  const out = pPack + STRIP * KEYS * 4;
  const states = out + MAX_QUERIES * MAX_HEAD * 4;
  const factors = states + MAX_QUERIES * 8;
  const tile = factors + KEYS * 4;
  const fours = (keys + 3) / 4; // blocks of random numbers of a row
  const blocks = (queries + queryBlock - 1) / queryBlock;
  const rowBytes = <usize> d << 2, panelBytes = <usize> ((d + 3) & ~3) * 20;
  const kPanelBytes = <usize> ((d + 3) & ~3) * 32, shift = shiftOf(format);
  qTime <<= 2;
  oTime <<= 2;
  for (let task = start; task < end; task++) {
    const head = task / blocks % heads, item = task / (blocks * heads);
    const kvHead = <usize> (head / (heads / kvHeads));
    const b = <usize> item, h = <usize> head;
    const qAt = q + (b * qBatch + h * qHead << 2), oAt = o + (b * oBatch + h * oHead << 2);
    const kAt = k + (b * kBatch + kvHead * kHead << shift);
    const vAt = v + (b * vBatch + kvHead * vHead << shift);
    const valid = keyValid ? keyValid + (b * validBatch << 2) : 0;
    const lseAt = lse ? lse + ((b * <usize> heads + h) * <usize> queries << 2) : 0;
    const first = task % blocks * queryBlock, rows = min(queryBlock, queries - first);
    // The positions of the first and the last query.
    const here = first + (positions ? load<i32>(positions + (b << 2)) : position);
    const last = here + rows - 1;
    const limit = end_seen(last, step, 0, keys);

    begin_attention(states, out, rowBytes, rows, d);
    packA(qAt + <usize> first * qTime, qTime, rows, d, qPack);

    // Blocks of keys begin at multiples of their size whatever the queries, so that sums are equal for all numbers of
    // threads.
    for (let j = first_seen(here, block, window, 0, keys) / KEYS * KEYS; j < limit; j += KEYS) {
      const width = min(KEYS, limit - j);
      const kHere = kAt + (<usize> j * kTime << shift), vHere = vAt + (<usize> j * vTime << shift);
      const validHere = valid ? valid + (<usize> j << 2) : 0;
      if (format == F32) {
        packBTransposed(kHere, kTime << 2, width, d, kPack);
        packB(vHere, vTime << 2, d, width, vPack);
      } else {
        heads_to_f32(format, kHere, kTime, 0, width, 1, d, tile);
        packBTransposed(tile, rowBytes, width, d, kPack);
        heads_to_f32(format, vHere, vTime, 0, width, 1, d, tile);
        packB(tile, rowBytes, d, width, vPack);
      }
      for (let strip = 0; strip < rows; strip += STRIP) {
        const height = min(STRIP, rows - strip);
        const at = here + strip;
        // Whole panels of 8 keys that any query of the strip sees.
        const from = first_seen(at, block, window, j, width) & ~7;
        const seen = end_seen(at + height - 1, step, j, width) - from;
        if (seen <= 0) continue;
        const panel = qPack + <usize> (strip / 5) * panelBytes;
        const kPanel = kPack + <usize> (from >> 3) * kPanelBytes;
        // deno-fmt-ignore
        packedProduct(panel, kPanel, height, seen, d, d, scores, KEYS * 4, scale, false, 0, edge);
        const own = <usize> strip, drawn = (item * heads + head) * queries + first + strip;
        // deno-fmt-ignore
        fold_attention(scores, KEYS * 4, height, at, step, block, window, j, width, from, seen, validHere,
          states + (own << 3), out + own * rowBytes, rowBytes, d, factors,
          drawn * fours, fours, seedLow, seedHigh, blockLow, blockHigh, dropout, keptScale);
        packA(scores, KEYS * 4, height, seen, pPack);
        const to = out + <usize> strip * rowBytes, vPanel = vPack + <usize> from * 32;
        // deno-fmt-ignore
        packedProduct(pPack, vPanel, height, d, seen, width, to, rowBytes, 1, true, 0, edge);
      }
    }
    const to = <usize> first;
    finish_attention(oAt + to * oTime, oTime, out, rowBytes, states, rows, d, lseAt ? lseAt + (to << 2) : 0);
  }
}

/**
 * Forward for few queries per sequence, as in decoding: tasks [start, end) of batch * ceil(kvHeads / groupHeads). A
 * task has `groupHeads` adjacent key heads and the query heads that use them, so that a cache whose heads of a time
 * step are contiguous is read from front to back. Arguments as in `attention`.
 */
export function attention_few(
  thread: i32,
  start: i32,
  end: i32,
  q: usize,
  k: usize,
  v: usize,
  o: usize,
  lse: usize,
  keyValid: usize,
  heads: i32,
  kvHeads: i32,
  queries: i32,
  keys: i32,
  d: i32,
  qBatch: usize,
  qHead: usize,
  qTime: usize,
  kBatch: usize,
  kHead: usize,
  kTime: usize,
  vBatch: usize,
  vHead: usize,
  vTime: usize,
  oBatch: usize,
  oHead: usize,
  oTime: usize,
  validBatch: usize,
  scale: f32,
  step: i32,
  block: i32,
  window: i32,
  position: i32,
  positions: usize,
  groupHeads: i32,
  format: i32,
): void {
  const share = heads / kvHeads, groups = (kvHeads + groupHeads - 1) / groupHeads;
  const rowBytes = <usize> d << 2, factor = f32x4.splat(scale);
  // For every query head of the task: scores, the sum of values, the running maximum and sum.
  const scores = scratch(thread);
  const out = scores + <usize> (groupHeads * share) * (KEYS * 4);
  const states = out + <usize> (groupHeads * share) * rowBytes;
  const tile = states + (<usize> (groupHeads * share) << 3);
  const shift = shiftOf(format);
  for (let task = start; task < end; task++) {
    const b = <usize> (task / groups), kvFirst = task % groups * groupHeads;
    const kvCount = min(groupHeads, kvHeads - kvFirst);
    const h0 = kvFirst * share, count = kvCount * share;
    const here = positions ? load<i32>(positions + (b << 2)) : position;
    const kAt = k + (b * kBatch + <usize> kvFirst * kHead << shift);
    const vAt = v + (b * vBatch + <usize> kvFirst * vHead << shift);
    for (let i = 0; i < queries; i++) {
      const from = first_seen(here + i, block, window, 0, keys), to = end_seen(here + i, step, 0, keys);
      const qAt = q + (b * qBatch + <usize> i * qTime << 2);
      const oAt = o + (b * oBatch + <usize> i * oTime << 2);
      memory.fill(out, 0, <usize> count * rowBytes);
      for (let h = 0; h < count; h++) {
        store<f32>(states + (<usize> h << 3), -Infinity);
        store<f32>(states + (<usize> h << 3), 0, 4);
      }
      for (let j = from; j < to; j += KEYS) {
        const n = min(KEYS, to - j);
        let keysAt = kAt + (<usize> j * kTime << shift), keyTime = kTime << 2, keyHead = kHead << 2;
        if (format != F32) {
          heads_to_f32(format, keysAt, kTime, kHead, n, kvCount, d, tile);
          keysAt = tile;
          keyTime = <usize> kvCount * rowBytes;
          keyHead = rowBytes;
        }
        for (let c = 0; c < n; c += 4) {
          const row = keysAt + <usize> c * keyTime;
          for (let h = 0; h < count; h++) {
            const own = qAt + (<usize> (h0 + h) * qHead << 2);
            const key = row + <usize> (h / share) * keyHead;
            const at = scores + <usize> h * (KEYS * 4) + (<usize> c << 2);
            if (c + 4 <= n) v128.store(at, f32x4.mul(dots(own, key, keyTime, d), factor));
            else {
              for (let r = 0; r < n - c; r++) {
                const score = dot(own, key + <usize> r * keyTime, d) * scale;
                store<f32>(at + (<usize> r << 2), score);
              }
            }
          }
        }
        for (let h = 0; h < count; h++) {
          const at = <usize> h, row = scores + at * (KEYS * 4);
          if (keyValid) maskKeys(row, keyValid + (b * validBatch + <usize> j << 2), n);
          foldRow(row, n, n, states + (at << 3), out + at * rowBytes, d);
        }
        let valuesAt = vAt + (<usize> j * vTime << shift), valueTime = vTime << 2, valueHead = vHead << 2;
        if (format != F32) {
          heads_to_f32(format, valuesAt, vTime, vHead, n, kvCount, d, tile);
          valuesAt = tile;
          valueTime = <usize> kvCount * rowBytes;
          valueHead = rowBytes;
        }
        for (let c = 0; c < n; c += 4) {
          const row = valuesAt + <usize> c * valueTime;
          for (let h = 0; h < count; h++) {
            const value = row + <usize> (h / share) * valueHead;
            const weights = scores + <usize> h * (KEYS * 4) + (<usize> c << 2);
            addScaled(out + <usize> h * rowBytes, value, valueTime, min(4, n - c), weights, d);
          }
        }
      }
      for (let h = 0; h < count; h++) {
        const at = <usize> h, head = <usize> (h0 + h);
        const log = lse ? lse + ((b * <usize> heads + head) * <usize> queries + <usize> i << 2) : 0;
        finishRow(oAt + (head * oHead << 2), out + at * rowBytes, states + (at << 3), d, log);
      }
    }
  }
}

/**
 * Turns the scores and dO V^T of a row into P (in `p`) and dS = P * (dP - delta) * scale (in `ds`); zeros from n to
 * width.
 */

function gradientRow(
  p: usize,
  ds: usize,
  n: i32,
  width: i32,
  lse: f32,
  delta: f32,
  scale: f32,
): void {
  const l = f32x4.splat(lse), m = f32x4.splat(delta), s = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2;
    const e = vexpNegative(f32x4.sub(v128.load(p + at), l));
    v128.store(p + at, e);
    v128.store(ds + at, f32x4.mul(f32x4.mul(e, f32x4.sub(v128.load(ds + at), m)), s));
  }
  for (; i < n; i++) {
    const at = <usize> i << 2;
    const e = vexpNegative(f32x4.sub(v128.load32_zero(p + at), l));
    v128.store32_lane(p + at, e, 0);
    const g = f32x4.mul(f32x4.mul(e, f32x4.sub(v128.load32_zero(ds + at), m)), s);
    v128.store32_lane(ds + at, g, 0);
  }
  for (; i < width; i++) {
    const at = <usize> i << 2;
    store<f32>(p + at, 0);
    store<f32>(ds + at, 0);
  }
}

/**
 * Turns `height` rows of scores (in `p`) and of dO V^T (in `ds`), both `scoresRow` bytes apart, into weights and gradients of
 * the scores. Arguments as in `fold_attention`; `lse` and `delta` point at the first row's.
 */
export function gradients_of_attention(
  p: usize,
  ds: usize,
  scoresRow: usize,
  height: i32,
  at: i32,
  step: i32,
  block: i32,
  window: i32,
  j: i32,
  width: i32,
  from: i32,
  seen: i32,
  valid: usize,
  lse: usize,
  delta: usize,
  scale: f32,
  factors: usize,
  random: i32,
  fours: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  dropout: f32,
  keptScale: f32,
): void {
  for (let i = 0; i < height; i++) {
    const row = <usize> i << 2, all = <usize> i * scoresRow;
    const skip = min(seen, first_seen(at + i, block, window, j, width) - from);
    const n = max(0, end_seen(at + i, step, j, width) - from - skip);
    const seenAt = all + (<usize> skip << 2);
    memory.fill(p + all, 0, <usize> skip << 2);
    memory.fill(ds + all, 0, <usize> skip << 2);
    if (valid) maskKeys(p + seenAt, valid + (<usize> (from + skip) << 2), n);
    if (dropout > 0) {
      const drawn = random + i * fours + (j + from >> 2);
      // deno-fmt-ignore
      dropoutFactors(factors, seen, drawn, seedLow, seedHigh, blockLow, blockHigh, dropout, keptScale);
      multiplyBy(ds + all, factors, seen);
    }
    // deno-fmt-ignore
    gradientRow(p + seenAt, ds + seenAt, n, seen - skip, load<f32>(lse + row), load<f32>(delta + row), scale);
    if (dropout > 0) multiplyBy(p + all, factors, seen);
  }
}

/** Zeros the rows of dQ and computes the products of those of o and dO, of one head. */
export function begin_attention_backward(
  o: usize,
  dO: usize,
  oTime: usize,
  dQ: usize,
  qTime: usize,
  delta: usize,
  queries: i32,
  d: i32,
): void {
  zero_rows(dQ, qTime, queries, d);
  for (let i = 0; i < queries; i++) {
    const row = <usize> i;
    store<f32>(delta + (row << 2), dot(o + row * oTime, dO + row * oTime, d));
  }
}

/**
 * Backward, tasks [start, end) of batch * kvHeads: dQ, dK and dV from dO and the output and lse of the forward pass.
 *
 * A task owns a key head and all query heads that use it, so that every gradient is summed by one thread in one
 * order. dQ, dK and dV have the strides of q, k and v; dO has those of o. `delta` is workspace, [batch, heads,
 * queries]. Weights are dropped as in `attention`.
 */
export function attention_backward(
  thread: i32,
  start: i32,
  end: i32,
  q: usize,
  k: usize,
  v: usize,
  o: usize,
  lse: usize,
  keyValid: usize,
  dO: usize,
  dQ: usize,
  dK: usize,
  dV: usize,
  delta: usize,
  heads: i32,
  kvHeads: i32,
  queries: i32,
  keys: i32,
  d: i32,
  qBatch: usize,
  qHead: usize,
  qTime: usize,
  kBatch: usize,
  kHead: usize,
  kTime: usize,
  vBatch: usize,
  vHead: usize,
  vTime: usize,
  oBatch: usize,
  oHead: usize,
  oTime: usize,
  validBatch: usize,
  scale: f32,
  step: i32,
  block: i32,
  window: i32,
  position: i32,
  seedLow: i32,
  seedHigh: i32,
  blockLow: i32,
  blockHigh: i32,
  dropout: f32,
  keptScale: f32,
): void {
  const edge = scratch(thread);
  // K and V transposed for scores and dP; K untransposed for dQ.
  const kTPack = edge + 256;
  const vTPack = kTPack + KEYS * MAX_HEAD * 4;
  const kPack = vTPack + KEYS * MAX_HEAD * 4;
  const dKSum = kPack + KEYS * MAX_HEAD * 4;
  const dVSum = dKSum + KEYS * MAX_HEAD * 4;
  // A strip of q and dO, as left and as right operand.
  const qLeft = dVSum + KEYS * MAX_HEAD * 4;
  const oLeft = qLeft + BACK_STRIP * MAX_HEAD * 4;
  const qRight = oLeft + BACK_STRIP * MAX_HEAD * 4;
  const oRight = qRight + BACK_STRIP * MAX_HEAD * 4;
  const p = oRight + BACK_STRIP * MAX_HEAD * 4;
  const ds = p + BACK_STRIP * KEYS * 4;
  // Panels of 5 keys: up to 130.
  const left = ds + BACK_STRIP * KEYS * 4;
  const factors = left + 130 * BACK_STRIP * 4;
  const group = heads / kvHeads;
  const fours = (keys + 3) / 4; // blocks of random numbers of a row
  const rowBytes = <usize> d << 2, kPanelBytes = <usize> ((d + 3) & ~3) * 32;
  qTime <<= 2;
  kTime <<= 2;
  vTime <<= 2;
  oTime <<= 2;
  for (let task = start; task < end; task++) {
    const b = <usize> (task / kvHeads), kvHead = task % kvHeads;
    const kOffset = b * kBatch + <usize> kvHead * kHead << 2;
    const vOffset = b * vBatch + <usize> kvHead * vHead << 2;
    const valid = keyValid ? keyValid + (b * validBatch << 2) : 0;

    for (let g = 0; g < group; g++) {
      const h = <usize> (kvHead * group + g);
      const dQAt = dQ + (b * qBatch + h * qHead << 2);
      const oOffset = b * oBatch + h * oHead << 2;
      const deltaAt = delta + ((b * <usize> heads + h) * <usize> queries << 2);
      begin_attention_backward(o + oOffset, dO + oOffset, oTime, dQAt, qTime, deltaAt, queries, d);
    }

    for (let j = 0; j < keys; j += KEYS) {
      const width = min(KEYS, keys - j);
      const kHere = k + kOffset + <usize> j * kTime, vHere = v + vOffset + <usize> j * vTime;
      const validHere = valid ? valid + (<usize> j << 2) : 0;
      packBTransposed(kHere, kTime, width, d, kTPack);
      packBTransposed(vHere, vTime, width, d, vTPack);
      packB(kHere, kTime, d, width, kPack);
      memory.fill(dKSum, 0, <usize> width * rowBytes);
      memory.fill(dVSum, 0, <usize> width * rowBytes);
      // From the first strip with a query that sees the first key to the last query that sees the last one.
      const start = step ? max(0, (j + 1) * step - 1 - position) / BACK_STRIP * BACK_STRIP : 0;
      let until = block ? min(queries, ((j + width - 1) / block + 1) * block - position) : queries;
      if (window) until = min(until, j + width - 1 + window - position);
      for (let g = 0; g < group; g++) {
        const h = <usize> (kvHead * group + g);
        const qOffset = b * qBatch + h * qHead << 2, oOffset = b * oBatch + h * oHead << 2;
        const rows = (b * <usize> heads + h) * <usize> queries << 2;
        for (let strip = start; strip < until; strip += BACK_STRIP) {
          const height = min(BACK_STRIP, queries - strip), here = position + strip;
          const from = first_seen(here, block, window, j, width) & ~7, fromKey = <usize> from;
          const seen = end_seen(here + height - 1, step, j, width) - from;
          if (seen <= 0) continue;
          const panels = <usize> (from >> 3) * kPanelBytes;
          const qStrip = q + qOffset + <usize> strip * qTime;
          const oStrip = dO + oOffset + <usize> strip * oTime;
          packA(qStrip, qTime, height, d, qLeft);
          packA(oStrip, oTime, height, d, oLeft);
          packB(qStrip, qTime, d, height, qRight);
          packB(oStrip, oTime, d, height, oRight);
          // deno-fmt-ignore
          packedProduct(qLeft, kTPack + panels, height, seen, d, d, p, KEYS * 4, scale, false, 0, edge);
          // deno-fmt-ignore
          packedProduct(oLeft, vTPack + panels, height, seen, d, d, ds, KEYS * 4, 1, false, 0, edge);
          const first = <usize> strip << 2, drawn = <i32> (rows >> 2) + strip;
          // deno-fmt-ignore
          gradients_of_attention(p, ds, KEYS * 4, height, here, step, block, window, j, width, from, seen, validHere,
            lse + rows + first, delta + rows + first, scale, factors,
            drawn * fours, fours, seedLow, seedHigh, blockLow, blockHigh, dropout, keptScale);
          packA(ds, KEYS * 4, height, seen, left);
          const dQStrip = dQ + qOffset + <usize> strip * qTime;
          // deno-fmt-ignore
          packedProduct(left, kPack + fromKey * 32, height, d, seen, width, dQStrip, qTime, 1, true, 0, edge);
          packATransposed(p, KEYS * 4, seen, height, left);
          // deno-fmt-ignore
          packedProduct(left, oRight, seen, d, height, height, dVSum + fromKey * rowBytes, rowBytes, 1, true, 0, edge);
          packATransposed(ds, KEYS * 4, seen, height, left);
          // deno-fmt-ignore
          packedProduct(left, qRight, seen, d, height, height, dKSum + fromKey * rowBytes, rowBytes, 1, true, 0, edge);
        }
      }
      for (let i = 0; i < width; i++) {
        const row = <usize> i, time = <usize> (j + i);
        memory.copy(dK + kOffset + time * kTime, dKSum + row * rowBytes, rowBytes);
        memory.copy(dV + vOffset + time * vTime, dVSum + row * rowBytes, rowBytes);
      }
    }
  }
}
