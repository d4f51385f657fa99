// Attention that never stores the T x T matrix (Dao et al., 2022), built from the packed panels of gemm.as.ts.
//
// Keys go by in blocks whose panels are packed once for a block of queries; queries are taken in strips whose scores fit
// the L1 cache. The order of all sums depends on the fixed block sizes alone, so results do not depend on the threads.
// Query i sees key j where j <= i + keys - queries (causal: the last query is aligned with the last key).

import { packA, packATransposed, packB, packBTransposed, packedProduct } from "./gemm.as";
import { scratch } from "./layout.as";
import { largest, madd, sumLanes, vexpNegative, vlog } from "./math.as";

/** Keys that are packed at once. */

const KEYS = 128;

/** Queries of a strip, forward and backward; multiples of 5, the rows of the micro-kernel. */

const STRIP = 20;

const BACK_STRIP = 40;

/** Most queries of a task, and the largest head. */

const MAX_QUERIES = 240;

const MAX_HEAD = 256;

/** Fewer queries than this go row by row, without packing. */

const MIN_QUERIES = 4;

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

/** y += a * x over n floats. */

function addScaled(y: usize, x: usize, n: i32, a: f32): void {
  const s = f32x4.splat(a);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, madd(v128.load(x + at), s, v128.load(y + at)));
  }
  for (; i < n; i++) {
    const at = <usize> i << 2;
    const v = madd(v128.load32_zero(x + at), s, v128.load32_zero(y + at));
    v128.store32_lane(y + at, v, 0);
  }
}

/** Adds -inf to the scores of keys that may not be seen; `valid` points at the block's first flag. */

function maskKeys(scores: usize, valid: usize, n: i32): void {
  for (let j = 0; j < n; j++) {
    const at = <usize> j << 2;
    if (load<i32>(valid + at) == 0) store<f32>(scores + at, -Infinity);
  }
}

/** How many of `width` keys from `first` on the query `i` sees. */

function visible(i: i32, first: i32, width: i32, causal: bool, offset: i32): i32 {
  return causal ? max(0, min(width, i + offset - first + 1)) : width;
}

/**
 * Folds one row of scores into the running softmax: scores become exp(score - maximum), `out` (d floats) is rescaled, and
 * the row's maximum and sum (two floats at `state`) are brought up to date.
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

/** o = out / sum and the row's log of the sum of exponentials; a row that saw no key gives 0 and +inf. */

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

/**
 * Forward, tasks [start, end) of batch * heads * ceil(queries / queryBlock).
 *
 * q is [batch, queries, heads, d] by strides (batch, head, time; the last axis contiguous), so are k and v with `kvHeads`
 * heads (query head h uses h / (heads / kvHeads)) and o. lse is [batch, heads, queries] or 0; `keyValid` is int32
 * [batch, keys] (`validBatch` from one
 * batch to the next), 0 where a key may not be seen, or 0 for none.
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
  causal: bool,
  queryBlock: i32,
): void {
  const edge = scratch(thread);
  const qPack = edge + 256;
  const kPack = qPack + MAX_QUERIES * MAX_HEAD * 4;
  const vPack = kPack + KEYS * MAX_HEAD * 4;
  const scores = vPack + KEYS * MAX_HEAD * 4;
  const pPack = scores + STRIP * KEYS * 4;
  const out = pPack + STRIP * KEYS * 4;
  const states = out + MAX_QUERIES * MAX_HEAD * 4;
  const blocks = (queries + queryBlock - 1) / queryBlock;
  const offset = keys - queries;
  const rowBytes = <usize> d << 2, panelBytes = <usize> ((d + 3) & ~3) * 20;
  qTime <<= 2;
  kTime <<= 2;
  vTime <<= 2;
  oTime <<= 2;
  for (let task = start; task < end; task++) {
    const block = task % blocks, head = task / blocks % heads, item = task / (blocks * heads);
    const kvHead = <usize> (head / (heads / kvHeads));
    const b = <usize> item, h = <usize> head;
    const qAt = q + (b * qBatch + h * qHead << 2), oAt = o + (b * oBatch + h * oHead << 2);
    const kAt = k + (b * kBatch + kvHead * kHead << 2);
    const vAt = v + (b * vBatch + kvHead * vHead << 2);
    const valid = keyValid ? keyValid + (b * validBatch << 2) : 0;
    const lseAt = lse ? lse + ((b * <usize> heads + h) * <usize> queries << 2) : 0;
    const first = block * queryBlock, rows = min(queryBlock, queries - first);
    const limit = visible(first + rows - 1, 0, keys, causal, offset);
    const direct = queries < MIN_QUERIES;

    memory.fill(out, 0, <usize> rows * rowBytes);
    for (let i = 0; i < rows; i++) {
      store<f32>(states + (<usize> i << 3), -Infinity);
      store<f32>(states + (<usize> i << 3), 0, 4);
    }
    if (!direct) packA(qAt + <usize> first * qTime, qTime, rows, d, qPack);

    for (let j = 0; j < limit; j += KEYS) {
      const width = min(KEYS, limit - j);
      const kHere = kAt + <usize> j * kTime, vHere = vAt + <usize> j * vTime;
      const validHere = valid ? valid + (<usize> j << 2) : 0;
      if (direct) {
        for (let i = 0; i < rows; i++) {
          const n = visible(first + i, j, width, causal, offset);
          if (n == 0) continue;
          const row = qAt + <usize> (first + i) * qTime;
          for (let c = 0; c < n; c++) {
            store<f32>(scores + (<usize> c << 2), dot(row, kHere + <usize> c * kTime, d) * scale);
          }
          if (validHere) maskKeys(scores, validHere, n);
          const to = out + <usize> i * rowBytes;
          foldRow(scores, n, n, states + (<usize> i << 3), to, d);
          for (let c = 0; c < n; c++) {
            addScaled(to, vHere + <usize> c * vTime, d, load<f32>(scores + (<usize> c << 2)));
          }
        }
        continue;
      }
      packBTransposed(kHere, kTime, width, d, kPack);
      packB(vHere, vTime, d, width, vPack);
      for (let strip = 0; strip < rows; strip += STRIP) {
        const height = min(STRIP, rows - strip);
        const seen = visible(first + strip + height - 1, j, width, causal, offset);
        if (seen == 0) continue;
        const panel = qPack + <usize> (strip / 5) * panelBytes;
        // deno-fmt-ignore
        packedProduct(panel, kPack, height, seen, d, d, scores, KEYS * 4, scale, false, 0, 0, 0, edge);
        for (let i = 0; i < height; i++) {
          const row = scores + <usize> i * (KEYS * 4);
          const n = visible(first + strip + i, j, width, causal, offset);
          if (validHere) maskKeys(row, validHere, n);
          const at = <usize> (strip + i);
          foldRow(row, n, seen, states + (at << 3), out + at * rowBytes, d);
        }
        packA(scores, KEYS * 4, height, seen, pPack);
        const to = out + <usize> strip * rowBytes;
        // deno-fmt-ignore
        packedProduct(pPack, vPack, height, d, seen, width, to, rowBytes, 1, true, 0, 0, 0, edge);
      }
    }
    for (let i = 0; i < rows; i++) {
      const at = <usize> i;
      const row = <usize> (first + i);
      // deno-fmt-ignore
      finishRow(oAt + row * oTime, out + at * rowBytes, states + (at << 3), d, lseAt ? lseAt + (row << 2) : 0);
    }
  }
}

/** Turns scores and dO V^T of a row into P (in `p`) and dS = P * (dP - delta) * scale (in `ds`); zeros from n to width. */

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
 * Backward, tasks [start, end) of batch * kvHeads: dq, dk and dv from dO, the output and lse of the forward pass.
 *
 * One task owns a key head and all query heads that use it, so that every gradient is summed by one thread in one order.
 * dq, dk and dv have the strides of q, k and v; dO has those of o. `delta` is workspace, [batch, heads, queries].
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
  dq: usize,
  dk: usize,
  dv: usize,
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
  causal: bool,
): void {
  const edge = scratch(thread);
  // K and V transposed for scores and dP, K as it is for dq.
  const kTPack = edge + 256;
  const vTPack = kTPack + KEYS * MAX_HEAD * 4;
  const kPack = vTPack + KEYS * MAX_HEAD * 4;
  const dkSum = kPack + KEYS * MAX_HEAD * 4;
  const dvSum = dkSum + KEYS * MAX_HEAD * 4;
  // A strip of q and dO, as left and as right factor.
  const qLeft = dvSum + KEYS * MAX_HEAD * 4;
  const oLeft = qLeft + BACK_STRIP * MAX_HEAD * 4;
  const qRight = oLeft + BACK_STRIP * MAX_HEAD * 4;
  const oRight = qRight + BACK_STRIP * MAX_HEAD * 4;
  const p = oRight + BACK_STRIP * MAX_HEAD * 4;
  const ds = p + BACK_STRIP * KEYS * 4;
  // Panels of 5 keys: up to 130.
  const left = ds + BACK_STRIP * KEYS * 4;
  const group = heads / kvHeads, offset = keys - queries;
  const rowBytes = <usize> d << 2;
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
      const dqAt = dq + (b * qBatch + h * qHead << 2);
      const oOffset = b * oBatch + h * oHead << 2;
      const deltaAt = delta + ((b * <usize> heads + h) * <usize> queries << 2);
      for (let i = 0; i < queries; i++) {
        const row = <usize> i;
        memory.fill(dqAt + row * qTime, 0, rowBytes);
        const at = oOffset + row * oTime;
        store<f32>(deltaAt + (row << 2), dot(o + at, dO + at, d));
      }
    }

    for (let j = 0; j < keys; j += KEYS) {
      const width = min(KEYS, keys - j);
      const kHere = k + kOffset + <usize> j * kTime, vHere = v + vOffset + <usize> j * vTime;
      const validHere = valid ? valid + (<usize> j << 2) : 0;
      packBTransposed(kHere, kTime, width, d, kTPack);
      packBTransposed(vHere, vTime, width, d, vTPack);
      packB(kHere, kTime, d, width, kPack);
      memory.fill(dkSum, 0, <usize> width * rowBytes);
      memory.fill(dvSum, 0, <usize> width * rowBytes);
      // The first strip with a query that sees the block's first key.
      const from = causal ? max(0, j - offset) / BACK_STRIP * BACK_STRIP : 0;
      for (let g = 0; g < group; g++) {
        const h = <usize> (kvHead * group + g);
        const qOffset = b * qBatch + h * qHead << 2, oOffset = b * oBatch + h * oHead << 2;
        const stats = (b * <usize> heads + h) * <usize> queries << 2;
        for (let strip = from; strip < queries; strip += BACK_STRIP) {
          const height = min(BACK_STRIP, queries - strip);
          const seen = visible(strip + height - 1, j, width, causal, offset);
          if (seen == 0) continue;
          const qStrip = q + qOffset + <usize> strip * qTime;
          const oStrip = dO + oOffset + <usize> strip * oTime;
          packA(qStrip, qTime, height, d, qLeft);
          packA(oStrip, oTime, height, d, oLeft);
          packB(qStrip, qTime, d, height, qRight);
          packB(oStrip, oTime, d, height, oRight);
          // deno-fmt-ignore
          packedProduct(qLeft, kTPack, height, seen, d, d, p, KEYS * 4, scale, false, 0, 0, 0, edge);
          // deno-fmt-ignore
          packedProduct(oLeft, vTPack, height, seen, d, d, ds, KEYS * 4, 1, false, 0, 0, 0, edge);
          for (let i = 0; i < height; i++) {
            const at = <usize> i * (KEYS * 4), row = stats + (<usize> (strip + i) << 2);
            const n = visible(strip + i, j, width, causal, offset);
            if (validHere) maskKeys(p + at, validHere, n);
            gradientRow(
              p + at,
              ds + at,
              n,
              seen,
              load<f32>(lse + row),
              load<f32>(delta + row),
              scale,
            );
          }
          packA(ds, KEYS * 4, height, seen, left);
          const dqStrip = dq + qOffset + <usize> strip * qTime;
          // deno-fmt-ignore
          packedProduct(left, kPack, height, d, seen, width, dqStrip, qTime, 1, true, 0, 0, 0, edge);
          packATransposed(p, KEYS * 4, seen, height, left);
          // deno-fmt-ignore
          packedProduct(left, oRight, seen, d, height, height, dvSum, rowBytes, 1, true, 0, 0, 0, edge);
          packATransposed(ds, KEYS * 4, seen, height, left);
          // deno-fmt-ignore
          packedProduct(left, qRight, seen, d, height, height, dkSum, rowBytes, 1, true, 0, 0, 0, edge);
        }
      }
      for (let i = 0; i < width; i++) {
        const row = <usize> i, time = <usize> (j + i);
        memory.copy(dk + kOffset + time * kTime, dkSum + row * rowBytes, rowBytes);
        memory.copy(dv + vOffset + time * vTime, dvSum + row * rowBytes, rowBytes);
      }
    }
  }
}
