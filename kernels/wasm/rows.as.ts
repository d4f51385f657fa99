// Kernels over rows [start, end) of a contiguous matrix, and sums over columns. A row is always summed in the same
// order, so results do not depend on how rows are distributed.

import { largest, madd, sumLanes, vexp, vexpNegative, vlog } from "./math.as";

function logScalar(x: f32): f32 {
  return f32x4.extract_lane(vlog(f32x4.splat(x)), 0);
}

/** y = exp(x - shift) over a row; returns the sum. y may be x, or 0 to compute only the sum. */

function expRow(x: usize, y: usize, n: i32, shift: f32): f32 {
  const s = f32x4.splat(shift);
  let sum = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2;
    const e = vexpNegative(f32x4.sub(v128.load(x + at), s));
    if (y) v128.store(y + at, e);
    sum = f32x4.add(sum, e);
  }
  let total = sumLanes(sum);
  for (; i < n; i++) {
    const at = <usize> i << 2;
    const e = vexpNegative(f32x4.sub(v128.load32_zero(x + at), s));
    if (y) v128.store32_lane(y + at, e, 0);
    total += f32x4.extract_lane(e, 0);
  }
  return total;
}

/** y = x * scale over a row. */

function scaleRow(x: usize, y: usize, n: i32, scale: f32): void {
  const s = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, f32x4.mul(v128.load(x + at), s));
  }
  for (; i < n; i++) {
    const at = <usize> i << 2;
    store<f32>(y + at, load<f32>(x + at) * scale);
  }
}

/** The sum of a[i] * b[i]. */

function dotRow(a: usize, b: usize, n: i32): f32 {
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

/** The sum of a row. Runs of 1,024 are summed first, so that a long sum stays accurate. */

function sumRow(x: usize, n: i32): f32 {
  const eights = n & ~7;
  let total = f32x4.splat(0);
  let i = 0;
  while (i < eights) {
    let u = f32x4.splat(0), v = u;
    for (const end = min(i + 1024, eights); i < end; i += 8) {
      const at = <usize> i << 2;
      u = f32x4.add(v128.load(x + at), u);
      v = f32x4.add(v128.load(x + at, 16), v);
    }
    total = f32x4.add(total, f32x4.add(u, v));
  }
  let sum = sumLanes(total);
  for (; i < n; i++) sum += load<f32>(x + (<usize> i << 2));
  return sum;
}

function rowAt(base: usize, row: i32, columns: i32): usize {
  return base + (<usize> row * <usize> columns << 2);
}

/** y = softmax(x) along rows; y may be x. */
export function softmax(thread: i32, start: i32, end: i32, x: usize, y: usize, columns: i32): void {
  for (let r = start; r < end; r++) {
    const from = rowAt(x, r, columns), to = rowAt(y, r, columns);
    const sum = expRow(from, to, columns, largest(from, columns));
    scaleRow(to, to, columns, <f32> 1 / sum);
  }
}

/** dx = y * (dy - sum(dy * y)) along rows. */
export function softmax_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  y: usize,
  dx: usize,
  columns: i32,
): void {
  for (let r = start; r < end; r++) {
    const d = rowAt(dy, r, columns), p = rowAt(y, r, columns), to = rowAt(dx, r, columns);
    const dot = dotRow(d, p, columns), s = f32x4.splat(dot);
    let i = 0;
    for (; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      v128.store(to + at, f32x4.mul(v128.load(p + at), f32x4.sub(v128.load(d + at), s)));
    }
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      store<f32>(to + at, load<f32>(p + at) * (load<f32>(d + at) - dot));
    }
  }
}

/** y = x - log(sum(exp(x))) along rows; y may be x. */
export function log_softmax(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  y: usize,
  columns: i32,
): void {
  for (let r = start; r < end; r++) {
    const from = rowAt(x, r, columns), to = rowAt(y, r, columns);
    const top = largest(from, columns);
    const log = logScalar(expRow(from, 0, columns, top));
    // Two subtractions: top + log would round away the log for a large top.
    const m = f32x4.splat(top), l = f32x4.splat(log);
    let i = 0;
    for (; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      v128.store(to + at, f32x4.sub(f32x4.sub(v128.load(from + at), m), l));
    }
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      store<f32>(to + at, load<f32>(from + at) - top - log);
    }
  }
}

/** dx = dy - exp(y) * sum(dy) along rows, for the log-softmax y. */
export function log_softmax_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  y: usize,
  dx: usize,
  columns: i32,
): void {
  for (let r = start; r < end; r++) {
    const d = rowAt(dy, r, columns), l = rowAt(y, r, columns), to = rowAt(dx, r, columns);
    const s = f32x4.splat(sumRow(d, columns));
    let i = 0;
    for (; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      const p = vexp(v128.load(l + at));
      v128.store(to + at, f32x4.sub(v128.load(d + at), f32x4.mul(p, s)));
    }
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      const p = vexp(v128.load32_zero(l + at));
      v128.store32_lane(to + at, f32x4.sub(v128.load32_zero(d + at), f32x4.mul(p, s)), 0);
    }
  }
}

/**
 * y = (x - mean) * rstd [* weight] [+ bias] along rows; mean and rstd (0: not kept) receive one number per row. Two
 * passes, the second of which also corrects the mean: accurate even if the mean is large relative to the spread.
 */
export function layer_norm(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  weight: usize,
  bias: usize,
  y: usize,
  mean: usize,
  rstd: usize,
  columns: i32,
  eps: f32,
): void {
  const each = <f32> 1 / <f32> columns;
  for (let r = start; r < end; r++) {
    const from = rowAt(x, r, columns), to = rowAt(y, r, columns);
    const about = sumRow(from, columns) * each;
    const a = f32x4.splat(about);
    let d1 = f32x4.splat(0), d2 = d1;
    let i = 0;
    for (; i + 4 <= columns; i += 4) {
      const d = f32x4.sub(v128.load(from + (<usize> i << 2)), a);
      d1 = f32x4.add(d1, d);
      d2 = madd(d, d, d2);
    }
    let off = sumLanes(d1), square = sumLanes(d2);
    for (; i < columns; i++) {
      const d = load<f32>(from + (<usize> i << 2)) - about;
      off += d;
      square += d * d;
    }
    off *= each;
    const scale = <f32> 1 / sqrt<f32>(max<f32>(square * each - off * off, 0) + eps);
    if (mean) store<f32>(mean + (<usize> r << 2), about + off);
    if (rstd) store<f32>(rstd + (<usize> r << 2), scale);
    const o = f32x4.splat(off), s = f32x4.splat(scale);
    for (i = 0; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      let v = f32x4.mul(f32x4.sub(f32x4.sub(v128.load(from + at), a), o), s);
      if (weight) v = f32x4.mul(v, v128.load(weight + at));
      if (bias) v = f32x4.add(v, v128.load(bias + at));
      v128.store(to + at, v);
    }
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      let v = (load<f32>(from + at) - about - off) * scale;
      if (weight) v *= load<f32>(weight + at);
      if (bias) v += load<f32>(bias + at);
      store<f32>(to + at, v);
    }
  }
}

/** dx of {@link layer_norm} along rows; dx may be dy. With a `mean` of 0 it is the gradient of {@link rms_norm}. */
export function layer_norm_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  weight: usize,
  mean: usize,
  rstd: usize,
  dx: usize,
  columns: i32,
): void {
  const each = <f32> 1 / <f32> columns;
  for (let r = start; r < end; r++) {
    const d = rowAt(dy, r, columns), from = rowAt(x, r, columns), to = rowAt(dx, r, columns);
    const center = mean ? load<f32>(mean + (<usize> r << 2)) : 0;
    const scale = load<f32>(rstd + (<usize> r << 2));
    const c = f32x4.splat(center), s = f32x4.splat(scale);
    let sum1 = f32x4.splat(0), sum2 = sum1;
    let i = 0;
    for (; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      let g = v128.load(d + at);
      if (weight) g = f32x4.mul(g, v128.load(weight + at));
      const h = f32x4.mul(f32x4.sub(v128.load(from + at), c), s);
      sum1 = f32x4.add(sum1, g);
      sum2 = madd(g, h, sum2);
    }
    let a = sumLanes(sum1), b = sumLanes(sum2);
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      const g = load<f32>(d + at) * (weight ? load<f32>(weight + at) : 1);
      a += g;
      b += g * ((load<f32>(from + at) - center) * scale);
    }
    a = mean ? a * each : 0;
    b *= each;
    const va = f32x4.splat(a), vb = f32x4.splat(b);
    for (i = 0; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      let g = v128.load(d + at);
      if (weight) g = f32x4.mul(g, v128.load(weight + at));
      const h = f32x4.mul(f32x4.sub(v128.load(from + at), c), s);
      const rest = f32x4.sub(f32x4.sub(g, va), f32x4.mul(h, vb));
      v128.store(to + at, f32x4.mul(rest, s));
    }
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      const g = load<f32>(d + at) * (weight ? load<f32>(weight + at) : 1);
      const h = (load<f32>(from + at) - center) * scale;
      store<f32>(to + at, (g - a - h * b) * scale);
    }
  }
}

/**
 * Columns [start, end): dweight = sum of dy * xhat, dbias = sum of dy over all rows; either may be 0, and so may
 * mean.
 */
export function layer_norm_backward_params(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  mean: usize,
  rstd: usize,
  dWeight: usize,
  dBias: usize,
  rows: i32,
  columns: i32,
): void {
  const stride = <usize> columns << 2;
  let j = start;
  // Sixteen columns at a time: a whole cache line of each row.
  for (; j + 16 <= end; j += 16) {
    const at = <usize> j << 2;
    let w0 = f32x4.splat(0), w1 = w0, w2 = w0, w3 = w0, b0 = w0, b1 = w0, b2 = w0, b3 = w0;
    let d = dy + at, from = x + at;
    for (let r = 0; r < rows; r++) {
      const row = <usize> r << 2;
      const c = mean ? v128.load32_splat(mean + row) : f32x4.splat(0);
      const s = v128.load32_splat(rstd + row);
      let g = v128.load(d);
      w0 = madd(g, f32x4.mul(f32x4.sub(v128.load(from), c), s), w0);
      b0 = f32x4.add(b0, g);
      g = v128.load(d, 16);
      w1 = madd(g, f32x4.mul(f32x4.sub(v128.load(from, 16), c), s), w1);
      b1 = f32x4.add(b1, g);
      g = v128.load(d, 32);
      w2 = madd(g, f32x4.mul(f32x4.sub(v128.load(from, 32), c), s), w2);
      b2 = f32x4.add(b2, g);
      g = v128.load(d, 48);
      w3 = madd(g, f32x4.mul(f32x4.sub(v128.load(from, 48), c), s), w3);
      b3 = f32x4.add(b3, g);
      d += stride;
      from += stride;
    }
    if (dWeight) {
      v128.store(dWeight + at, w0);
      v128.store(dWeight + at, w1, 16);
      v128.store(dWeight + at, w2, 32);
      v128.store(dWeight + at, w3, 48);
    }
    if (dBias) {
      v128.store(dBias + at, b0);
      v128.store(dBias + at, b1, 16);
      v128.store(dBias + at, b2, 32);
      v128.store(dBias + at, b3, 48);
    }
  }
  // The rest one by one, with the same operations in the same order.
  for (; j < end; j++) {
    const at = <usize> j << 2;
    let w = f32x4.splat(0), b = w;
    let d = dy + at, from = x + at;
    for (let r = 0; r < rows; r++) {
      const row = <usize> r << 2;
      const c = mean ? v128.load32_splat(mean + row) : f32x4.splat(0);
      const g = v128.load32_zero(d);
      const s = v128.load32_splat(rstd + row);
      w = madd(g, f32x4.mul(f32x4.sub(v128.load32_zero(from), c), s), w);
      b = f32x4.add(b, g);
      d += stride;
      from += stride;
    }
    if (dWeight) v128.store32_lane(dWeight + at, w, 0);
    if (dBias) v128.store32_lane(dBias + at, b, 0);
  }
}

/**
 * y = x * rstd [* (weight + offset)] along rows, rstd = 1 / sqrt(mean(x^2) + eps); rstd (0: not kept) receives one
 * number per row.
 */
export function rms_norm(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  weight: usize,
  y: usize,
  rstd: usize,
  columns: i32,
  eps: f32,
  offset: f32,
): void {
  const added = f32x4.splat(offset);
  for (let r = start; r < end; r++) {
    const from = rowAt(x, r, columns), to = rowAt(y, r, columns);
    const scale = <f32> 1 / sqrt<f32>(dotRow(from, from, columns) / <f32> columns + eps);
    if (rstd) store<f32>(rstd + (<usize> r << 2), scale);
    const s = f32x4.splat(scale);
    let i = 0;
    for (; i + 4 <= columns; i += 4) {
      const at = <usize> i << 2;
      let v = f32x4.mul(v128.load(from + at), s);
      if (weight) v = f32x4.mul(v, f32x4.add(v128.load(weight + at), added));
      v128.store(to + at, v);
    }
    for (; i < columns; i++) {
      const at = <usize> i << 2;
      let v = load<f32>(from + at) * scale;
      if (weight) v *= load<f32>(weight + at) + offset;
      store<f32>(to + at, v);
    }
  }
}

/** dx of {@link rms_norm} along rows; dx may be dy. */
export function rms_norm_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  weight: usize,
  rstd: usize,
  dx: usize,
  columns: i32,
): void {
  layer_norm_backward(thread, start, end, dy, x, weight, 0, rstd, dx, columns);
}

/** Columns [start, end) of dweight of {@link rms_norm}. */
export function rms_norm_backward_params(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  rstd: usize,
  dWeight: usize,
  rows: i32,
  columns: i32,
): void {
  layer_norm_backward_params(thread, start, end, dy, x, 0, rstd, dWeight, 0, rows, columns);
}

/** The loss of a row from its maximum, its sum of exponentials and the target's logit. */

function rowLoss(
  logits: usize,
  columns: i32,
  target: i32,
  top: f32,
  log: f32,
  smoothing: f32,
): f32 {
  // All differences are relative to `top`, so that large logits lose no precision.
  const nll = log - (load<f32>(logits + (<usize> target << 2)) - top);
  if (smoothing == 0) return nll;
  const all = log - (sumRow(logits, columns) / <f32> columns - top);
  return (<f32> 1 - smoothing) * nll + smoothing * all;
}

function checkTarget(target: i32, columns: i32): void {
  // The caller checks ids; an invalid one must not read other memory.
  if (<u32> target >= <u32> columns) unreachable();
}

/**
 * Rows [start, end): loss[r], and sums[2 r] = the maximum, sums[2 r + 1] = sum(exp(logits - maximum)); rows whose target is
 * `ignoreIndex` get a loss of 0. `ld` is the leading dimension of logits. sums may be 0.
 */
export function cross_entropy(
  thread: i32,
  start: i32,
  end: i32,
  logits: usize,
  ld: usize,
  targets: usize,
  loss: usize,
  sums: usize,
  columns: i32,
  ignoreIndex: i32,
  smoothing: f32,
): void {
  for (let r = start; r < end; r++) {
    const row = <usize> r << 2, from = logits + <usize> r * (ld << 2);
    const target = load<i32>(targets + row);
    const top = largest(from, columns);
    const sum = expRow(from, 0, columns, top), log = logScalar(sum);
    if (sums) {
      store<f32>(sums + 2 * row, top);
      store<f32>(sums + 2 * row, sum, 4);
    }
    if (target == ignoreIndex) store<f32>(loss + row, 0);
    else {
      checkTarget(target, columns);
      store<f32>(loss + row, rowLoss(from, columns, target, top, log, smoothing));
    }
  }
}

/** d = (p - (1 - smoothing) * onehot - smoothing / columns) * scale from p = e * rsum, over a row. */

function finishGradient(
  d: usize,
  columns: i32,
  target: i32,
  rsum: f32,
  smoothing: f32,
  scale: f32,
): void {
  const factor = f32x4.splat(rsum * scale), spread = f32x4.splat(smoothing / <f32> columns * scale);
  let i = 0;
  for (; i + 4 <= columns; i += 4) {
    const at = <usize> i << 2;
    v128.store(d + at, f32x4.sub(f32x4.mul(v128.load(d + at), factor), spread));
  }
  for (; i < columns; i++) {
    const at = <usize> i << 2;
    const v = f32x4.sub(f32x4.mul(v128.load32_zero(d + at), factor), spread);
    v128.store32_lane(d + at, v, 0);
  }
  const hit = d + (<usize> target << 2);
  store<f32>(hit, load<f32>(hit) - (<f32> 1 - smoothing) * scale);
}

/**
 * Rows [start, end) of dlogits = (softmax - target distribution) * scale [* the number at scaleAt] [* rowScale[r]],
 * zeros in ignored rows. dlogits may be logits; both have the leading dimension `ld`.
 */
export function cross_entropy_backward(
  thread: i32,
  start: i32,
  end: i32,
  logits: usize,
  ld: usize,
  targets: usize,
  sums: usize,
  dLogits: usize,
  columns: i32,
  ignoreIndex: i32,
  smoothing: f32,
  scale: f32,
  scaleAt: usize,
  rowScale: usize,
): void {
  if (scaleAt) scale *= load<f32>(scaleAt);
  for (let r = start; r < end; r++) {
    const row = <usize> r << 2, offset = <usize> r * (ld << 2), to = dLogits + offset;
    const target = load<i32>(targets + row);
    if (target == ignoreIndex) {
      memory.fill(to, 0, <usize> columns << 2);
      continue;
    }
    checkTarget(target, columns);
    expRow(logits + offset, to, columns, load<f32>(sums + 2 * row));
    const s = rowScale ? scale * load<f32>(rowScale + row) : scale;
    finishGradient(to, columns, target, <f32> 1 / load<f32>(sums + 2 * row, 4), smoothing, s);
  }
}

/**
 * Both at once: loss and lse (0: not kept) of rows [start, end), and logits overwritten by dlogits * scale as above.
 */
export function cross_entropy_fused(
  thread: i32,
  start: i32,
  end: i32,
  logits: usize,
  ld: usize,
  targets: usize,
  loss: usize,
  lse: usize,
  columns: i32,
  ignoreIndex: i32,
  smoothing: f32,
  scale: f32,
  scaleAt: usize,
  rowScale: usize,
): void {
  if (scaleAt) scale *= load<f32>(scaleAt);
  for (let r = start; r < end; r++) {
    const row = <usize> r << 2, from = logits + <usize> r * (ld << 2);
    const target = load<i32>(targets + row);
    const top = largest(from, columns);
    if (target == ignoreIndex) {
      if (lse) store<f32>(lse + row, top + logScalar(expRow(from, 0, columns, top)));
      store<f32>(loss + row, 0);
      memory.fill(from, 0, <usize> columns << 2);
      continue;
    }
    checkTarget(target, columns);
    // The loss needs a logit that the exponentials overwrite, so read it first.
    const hit = load<f32>(from + (<usize> target << 2)) - top;
    const average: f32 = smoothing == 0 ? <f32> 0 : sumRow(from, columns) / <f32> columns - top;
    const sum = expRow(from, from, columns, top);
    const log = logScalar(sum);
    let value = log - hit;
    if (smoothing != 0) value = (<f32> 1 - smoothing) * value + smoothing * (log - average);
    store<f32>(loss + row, value);
    if (lse) store<f32>(lse + row, top + log);
    const s = rowScale ? scale * load<f32>(rowScale + row) : scale;
    finishGradient(from, columns, target, <f32> 1 / sum, smoothing, s);
  }
}

/** y[r] = sum of row r. */
export function row_sum(thread: i32, start: i32, end: i32, x: usize, y: usize, columns: i32): void {
  for (let r = start; r < end; r++) {
    store<f32>(y + (<usize> r << 2), sumRow(rowAt(x, r, columns), columns));
  }
}

/** y[r] = the largest element of row r, NaN if any is. */
export function row_max(thread: i32, start: i32, end: i32, x: usize, y: usize, columns: i32): void {
  for (let r = start; r < end; r++) {
    store<f32>(y + (<usize> r << 2), largest(rowAt(x, r, columns), columns));
  }
}

/** y[r] = sum of a[r, :] * b[r, :]. */
export function row_dot(
  thread: i32,
  start: i32,
  end: i32,
  a: usize,
  b: usize,
  y: usize,
  columns: i32,
): void {
  for (let r = start; r < end; r++) {
    store<f32>(
      y + (<usize> r << 2),
      dotRow(rowAt(a, r, columns), rowAt(b, r, columns), columns),
    );
  }
}

/** The rows of a column that are summed first, so that a long sum stays accurate. */

const COLUMN_RUN = 256;

/** Columns [start, end): y[j] = [y[j] +] the sum of column j. */
export function column_sum(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  y: usize,
  rows: i32,
  columns: i32,
  accumulate: bool,
): void {
  const stride = <usize> columns << 2;
  let j = start;
  for (; j + 16 <= end; j += 16) {
    const at = <usize> j << 2;
    let from = x + at;
    let a = f32x4.splat(0), b = a, c = a, d = a;
    for (let r = 0; r < rows;) {
      let u = f32x4.splat(0), v = u, w = u, z = u;
      for (const last = min(r + COLUMN_RUN, rows); r < last; r++) {
        u = f32x4.add(u, v128.load(from));
        v = f32x4.add(v, v128.load(from, 16));
        w = f32x4.add(w, v128.load(from, 32));
        z = f32x4.add(z, v128.load(from, 48));
        from += stride;
      }
      a = f32x4.add(a, u);
      b = f32x4.add(b, v);
      c = f32x4.add(c, w);
      d = f32x4.add(d, z);
    }
    if (accumulate) {
      a = f32x4.add(v128.load(y + at), a);
      b = f32x4.add(v128.load(y + at, 16), b);
      c = f32x4.add(v128.load(y + at, 32), c);
      d = f32x4.add(v128.load(y + at, 48), d);
    }
    v128.store(y + at, a);
    v128.store(y + at, b, 16);
    v128.store(y + at, c, 32);
    v128.store(y + at, d, 48);
  }
  for (; j < end; j++) {
    const at = <usize> j << 2;
    let from = x + at;
    let sum: f32 = 0;
    for (let r = 0; r < rows;) {
      let run: f32 = 0;
      for (const last = min(r + COLUMN_RUN, rows); r < last; r++) {
        run += load<f32>(from);
        from += stride;
      }
      sum += run;
    }
    store<f32>(y + at, accumulate ? load<f32>(y + at) + sum : sum);
  }
}

/** The elements of one partial sum; fixed, so that totals never depend on how the work is distributed. */

const SUM_BLOCK = 4096;

/** Blocks [start, end) of 4,096 elements: partials[block] = the block's sum, of squares with `squares`. In float64. */
export function sum_blocks(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  n: i32,
  partials: usize,
  squares: bool,
): void {
  for (let block = start; block < end; block++) {
    let i = block * SUM_BLOCK;
    const last = min(n, i + SUM_BLOCK);
    let u = f64x2.splat(0), v = u;
    for (; i + 4 <= last; i += 4) {
      const w = v128.load(x + (<usize> i << 2));
      const low = f64x2.promote_low_f32x4(w);
      const high = f64x2.promote_low_f32x4(v128.shuffle<f32>(w, w, 2, 3, 2, 3));
      u = f64x2.add(u, squares ? f64x2.mul(low, low) : low);
      v = f64x2.add(v, squares ? f64x2.mul(high, high) : high);
    }
    u = f64x2.add(u, v);
    let sum = f64x2.extract_lane(u, 0) + f64x2.extract_lane(u, 1);
    for (; i < last; i++) {
      const w = <f64> load<f32>(x + (<usize> i << 2));
      sum += squares ? w * w : w;
    }
    store<f32>(partials + (<usize> block << 2), <f32> sum);
  }
}

/** Runs with a count of 1: out[0] = [out[0] +] scale * the sum of `n` partials, added in order in float64. */
export function sum_partials(
  thread: i32,
  start: i32,
  end: i32,
  partials: usize,
  n: i32,
  out: usize,
  scale: f64,
  accumulate: bool,
): void {
  let sum: f64 = 0;
  for (let i = 0; i < n; i++) sum += <f64> load<f32>(partials + (<usize> i << 2));
  sum *= scale;
  store<f32>(out, <f32> (accumulate ? <f64> load<f32>(out) + sum : sum));
}

/**
 * Runs with a count of 1: from a sum of squares, norm[0] = its root and factor[0] = min(1, maxNorm / (norm + 1e-6)).
 */
export function clip_factor(
  thread: i32,
  start: i32,
  end: i32,
  squares: usize,
  maxNorm: f32,
  norm: usize,
  factor: usize,
): void {
  const value = sqrt<f32>(load<f32>(squares));
  if (norm) store<f32>(norm, value);
  if (factor) store<f32>(factor, min<f32>(1, maxNorm / (value + 1e-6)));
}
