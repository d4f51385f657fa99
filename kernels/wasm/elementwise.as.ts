// Elementwise kernels over elements [start, end). The operation is a constant in the inlined loop, so that each
// export is one tight loop; the last one to three elements go through the same arithmetic in lane 0.

import {
  madd,
  vexp,
  vgeluErf,
  vgeluErfSlope,
  vgeluTanh,
  vgeluTanhSlope,
  vlog,
  vsigmoid,
  vsiluSlope,
  vtanh,
} from "./math.as";

const EXP = 0;

const LOG = 1;

const TANH = 2;

const GELU_TANH = 3;

const GELU_ERF = 4;

const SILU = 5;

const RELU = 6;

const SIGMOID = 7;

const NEG = 8;

const ABS = 9;

const SQRT = 10;

const RSQRT = 11;

const SQUARE = 12;

const RECIPROCAL = 13;

const RELU_SQUARED = 14;

function one(op: i32, x: v128): v128 {
  if (op == EXP) return vexp(x);
  else if (op == LOG) return vlog(x);
  else if (op == TANH) return vtanh(x);
  else if (op == GELU_TANH) return vgeluTanh(x);
  else if (op == GELU_ERF) return vgeluErf(x);
  else if (op == SILU) return f32x4.mul(x, vsigmoid(x));
  // pmax(x, 0) is x < 0 ? 0 : x, so NaN is kept.
  else if (op == RELU) return f32x4.pmax(x, f32x4.splat(0));
  else if (op == RELU_SQUARED) {
    const positive = f32x4.pmax(x, f32x4.splat(0));
    return f32x4.mul(positive, positive);
  } else if (op == SIGMOID) return vsigmoid(x);
  else if (op == NEG) return f32x4.neg(x);
  else if (op == ABS) return f32x4.abs(x);
  else if (op == SQRT) return f32x4.sqrt(x);
  else if (op == RSQRT) return f32x4.div(f32x4.splat(1), f32x4.sqrt(x));
  else if (op == SQUARE) return f32x4.mul(x, x);
  else return f32x4.div(f32x4.splat(1), x);
}

function unary(op: i32, start: i32, end: i32, x: usize, y: usize): void {
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, one(op, v128.load(x + at)));
  }
  for (; i < end; i++) {
    const at = <usize> i << 2;
    v128.store32_lane(y + at, one(op, v128.load32_zero(x + at)), 0);
  }
}

export function exp(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(EXP, start, end, x, y);
}
export function log(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(LOG, start, end, x, y);
}
export function tanh(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(TANH, start, end, x, y);
}
export function gelu_tanh(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(GELU_TANH, start, end, x, y);
}
export function gelu_erf(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(GELU_ERF, start, end, x, y);
}
export function silu(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(SILU, start, end, x, y);
}
export function relu(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(RELU, start, end, x, y);
}
export function relu_squared(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(RELU_SQUARED, start, end, x, y);
}
export function sigmoid(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(SIGMOID, start, end, x, y);
}
export function neg(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(NEG, start, end, x, y);
}
export function abs(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(ABS, start, end, x, y);
}
export function sqrt(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(SQRT, start, end, x, y);
}
export function rsqrt(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(RSQRT, start, end, x, y);
}
export function square(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(SQUARE, start, end, x, y);
}
export function reciprocal(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  unary(RECIPROCAL, start, end, x, y);
}

const ADD = 0;

const SUB = 1;

const MUL = 2;

const DIV = 3;

const MAXIMUM = 4;

const MINIMUM = 5;

const GELU_TANH_BACKWARD = 6;

const GELU_ERF_BACKWARD = 7;

const SILU_BACKWARD = 8;

const RELU_BACKWARD = 9;

const TANH_BACKWARD = 10;

const SIGMOID_BACKWARD = 11;

const SWIGLU = 12;

const RELU_SQUARED_BACKWARD = 13;

function two(op: i32, a: v128, b: v128): v128 {
  if (op == ADD) return f32x4.add(a, b);
  else if (op == SUB) return f32x4.sub(a, b);
  else if (op == MUL) return f32x4.mul(a, b);
  else if (op == DIV) return f32x4.div(a, b);
  else if (op == MAXIMUM) return f32x4.max(a, b);
  else if (op == MINIMUM) return f32x4.min(a, b);
  else if (op == GELU_TANH_BACKWARD) return f32x4.mul(a, vgeluTanhSlope(b));
  else if (op == GELU_ERF_BACKWARD) return f32x4.mul(a, vgeluErfSlope(b));
  else if (op == SILU_BACKWARD) return f32x4.mul(a, vsiluSlope(b));
  else if (op == RELU_BACKWARD) return v128.andnot(a, f32x4.le(b, f32x4.splat(0)));
  else if (op == RELU_SQUARED_BACKWARD) {
    const slope = f32x4.mul(f32x4.splat(2), f32x4.mul(a, b));
    return v128.andnot(slope, f32x4.le(b, f32x4.splat(0)));
  }
  else if (op == TANH_BACKWARD) {
    return f32x4.mul(a, f32x4.sub(f32x4.splat(1), f32x4.mul(b, b)));
  } else if (op == SIGMOID_BACKWARD) {
    return f32x4.mul(a, f32x4.mul(b, f32x4.sub(f32x4.splat(1), b)));
  } else return f32x4.mul(f32x4.mul(a, vsigmoid(a)), b);
}

function binary(op: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, two(op, v128.load(a + at), v128.load(b + at)));
  }
  for (; i < end; i++) {
    const at = <usize> i << 2;
    v128.store32_lane(y + at, two(op, v128.load32_zero(a + at), v128.load32_zero(b + at)), 0);
  }
}

export function add(thread: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  binary(ADD, start, end, a, b, y);
}
export function sub(thread: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  binary(SUB, start, end, a, b, y);
}
export function mul(thread: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  binary(MUL, start, end, a, b, y);
}
export function div(thread: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  binary(DIV, start, end, a, b, y);
}
export function maximum(thread: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  binary(MAXIMUM, start, end, a, b, y);
}
export function minimum(thread: i32, start: i32, end: i32, a: usize, b: usize, y: usize): void {
  binary(MINIMUM, start, end, a, b, y);
}
export function gelu_tanh_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  dx: usize,
): void {
  binary(GELU_TANH_BACKWARD, start, end, dy, x, dx);
}
export function gelu_erf_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  dx: usize,
): void {
  binary(GELU_ERF_BACKWARD, start, end, dy, x, dx);
}
export function silu_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  dx: usize,
): void {
  binary(SILU_BACKWARD, start, end, dy, x, dx);
}
export function relu_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  dx: usize,
): void {
  binary(RELU_BACKWARD, start, end, dy, x, dx);
}
export function relu_squared_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  dx: usize,
): void {
  binary(RELU_SQUARED_BACKWARD, start, end, dy, x, dx);
}
/** From the OUTPUT y of tanh. */
export function tanh_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  y: usize,
  dx: usize,
): void {
  binary(TANH_BACKWARD, start, end, dy, y, dx);
}
/** From the OUTPUT y of sigmoid. */
export function sigmoid_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  y: usize,
  dx: usize,
): void {
  binary(SIGMOID_BACKWARD, start, end, dy, y, dx);
}
/** silu(gate) * up. */
export function swiglu(
  thread: i32,
  start: i32,
  end: i32,
  gate: usize,
  up: usize,
  y: usize,
): void {
  binary(SWIGLU, start, end, gate, up, y);
}
/** Gradients of {@link swiglu}; they may overwrite gate and up. */
export function swiglu_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  gate: usize,
  up: usize,
  dGate: usize,
  dUp: usize,
): void {
  for (let i = start; i < end;) {
    const at = <usize> i << 2;
    const whole = i + 4 <= end;
    const d = whole ? v128.load(dy + at) : v128.load32_zero(dy + at);
    const g = whole ? v128.load(gate + at) : v128.load32_zero(gate + at);
    const u = whole ? v128.load(up + at) : v128.load32_zero(up + at);
    const left = f32x4.mul(f32x4.mul(d, u), vsiluSlope(g));
    const right = f32x4.mul(d, f32x4.mul(g, vsigmoid(g)));
    if (whole) {
      v128.store(dGate + at, left);
      v128.store(dUp + at, right);
      i += 4;
    } else {
      v128.store32_lane(dGate + at, left, 0);
      v128.store32_lane(dUp + at, right, 0);
      i++;
    }
  }
}

/** cap * tanh(x / cap). */
export function softcap(thread: i32, start: i32, end: i32, x: usize, y: usize, cap: f32): void {
  const c = f32x4.splat(cap), inverse = f32x4.splat(1 / cap);
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, f32x4.mul(c, vtanh(f32x4.mul(v128.load(x + at), inverse))));
  }
  for (; i < end; i++) {
    const at = <usize> i << 2;
    const t = vtanh(f32x4.mul(v128.load32_zero(x + at), inverse));
    v128.store32_lane(y + at, f32x4.mul(c, t), 0);
  }
}
/** Gradient of {@link softcap}, from its input x. */
export function softcap_backward(
  thread: i32,
  start: i32,
  end: i32,
  dy: usize,
  x: usize,
  dx: usize,
  cap: f32,
): void {
  const one = f32x4.splat(1), inverse = f32x4.splat(1 / cap);
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize> i << 2;
    const t = vtanh(f32x4.mul(v128.load(x + at), inverse));
    v128.store(dx + at, f32x4.mul(v128.load(dy + at), f32x4.sub(one, f32x4.mul(t, t))));
  }
  for (; i < end; i++) {
    const at = <usize> i << 2;
    const t = vtanh(f32x4.mul(v128.load32_zero(x + at), inverse));
    const d = f32x4.mul(v128.load32_zero(dy + at), f32x4.sub(one, f32x4.mul(t, t)));
    v128.store32_lane(dx + at, d, 0);
  }
}

const SCALAR_ADD = 0;

const SCALAR_MUL = 1;

const SCALAR_FROM = 2; // s - x

const SCALAR_OVER = 3; // s / x

const SCALAR_DIV = 4; // x / s

function scalarOne(op: i32, x: v128, s: v128): v128 {
  if (op == SCALAR_ADD) return f32x4.add(x, s);
  else if (op == SCALAR_MUL) return f32x4.mul(x, s);
  else if (op == SCALAR_FROM) return f32x4.sub(s, x);
  else if (op == SCALAR_OVER) return f32x4.div(s, x);
  else return f32x4.div(x, s);
}

function scalar(op: i32, start: i32, end: i32, x: usize, value: f32, y: usize): void {
  const s = f32x4.splat(value);
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, scalarOne(op, v128.load(x + at), s));
  }
  for (; i < end; i++) {
    const at = <usize> i << 2;
    v128.store32_lane(y + at, scalarOne(op, v128.load32_zero(x + at), s), 0);
  }
}

export function add_scalar(thread: i32, start: i32, end: i32, x: usize, s: f32, y: usize): void {
  scalar(SCALAR_ADD, start, end, x, s, y);
}
export function mul_scalar(thread: i32, start: i32, end: i32, x: usize, s: f32, y: usize): void {
  scalar(SCALAR_MUL, start, end, x, s, y);
}
export function div_scalar(thread: i32, start: i32, end: i32, x: usize, s: f32, y: usize): void {
  scalar(SCALAR_DIV, start, end, x, s, y);
}
/** s - x. */
export function scalar_sub(thread: i32, start: i32, end: i32, x: usize, s: f32, y: usize): void {
  scalar(SCALAR_FROM, start, end, x, s, y);
}
/** s / x. */
export function scalar_div(thread: i32, start: i32, end: i32, x: usize, s: f32, y: usize): void {
  scalar(SCALAR_OVER, start, end, x, s, y);
}

/** x * the number at address s. */
export function mul_device_scalar(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  s: usize,
  y: usize,
): void {
  scalar(SCALAR_MUL, start, end, x, load<f32>(s), y);
}

export function fill(thread: i32, start: i32, end: i32, y: usize, value: f32): void {
  const s = f32x4.splat(value);
  let i = start;
  for (; i + 4 <= end; i += 4) v128.store(y + (<usize> i << 2), s);
  for (; i < end; i++) store<f32>(y + (<usize> i << 2), value);
}

export function copy(thread: i32, start: i32, end: i32, x: usize, y: usize): void {
  const at = <usize> start << 2;
  memory.copy(y + at, x + at, <usize> (end - start) << 2);
}

/** y += a * x. */
export function axpy(thread: i32, start: i32, end: i32, a: f32, x: usize, y: usize): void {
  const s = f32x4.splat(a);
  let i = start;
  for (; i + 4 <= end; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, madd(v128.load(x + at), s, v128.load(y + at)));
  }
  for (; i < end; i++) {
    const at = <usize> i << 2;
    const v = madd(v128.load32_zero(x + at), s, v128.load32_zero(y + at));
    v128.store32_lane(y + at, v, 0);
  }
}

function rowBroadcast(
  op: i32,
  start: i32,
  end: i32,
  x: usize,
  row: usize,
  y: usize,
  columns: i32,
): void {
  for (let r = start; r < end; r++) {
    const offset = <usize> r * <usize> columns << 2;
    binary(op, 0, columns, x + offset, row, y + offset);
  }
}

/** Rows [start, end): y[r, :] = x[r, :] + row. */
export function row_add(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  row: usize,
  y: usize,
  columns: i32,
): void {
  rowBroadcast(ADD, start, end, x, row, y, columns);
}
/** Rows [start, end): y[r, :] = x[r, :] * row. */
export function row_mul(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  row: usize,
  y: usize,
  columns: i32,
): void {
  rowBroadcast(MUL, start, end, x, row, y, columns);
}

/**
 * One AdamW step on elements [start, end): p, m and v are updated in place. The gradient is first multiplied by the
 * number at `gradScale` (0: none), so that clipping needs no read-back. `correction1` and `correction2` are 1 -
 * beta^step. Loshchilov and Hutter, 2019.
 */
export function adamw(
  thread: i32,
  start: i32,
  end: i32,
  p: usize,
  g: usize,
  m: usize,
  v: usize,
  lr: f64,
  beta1: f64,
  beta2: f64,
  eps: f64,
  weightDecay: f64,
  correction1: f64,
  correction2: f64,
  gradScale: usize,
): void {
  // In float64: in float32, 1 - 0.999 is off by 5e-5.
  const b1 = f32x4.splat(<f32> beta1), c1 = f32x4.splat(<f32> (1 - beta1));
  const b2 = f32x4.splat(<f32> beta2), c2 = f32x4.splat(<f32> (1 - beta2));
  const keep = f32x4.splat(<f32> (1 - lr * weightDecay));
  const step = f32x4.splat(<f32> (lr / correction1));
  const root = f32x4.splat(<f32> (1 / Math.sqrt(correction2)));
  const e = f32x4.splat(<f32> eps);
  const scale = f32x4.splat(gradScale ? load<f32>(gradScale) : 1);
  for (let i = start; i < end;) {
    const at = <usize> i << 2;
    if (i + 4 <= end) {
      const grad = f32x4.mul(v128.load(g + at), scale);
      const mean = madd(b1, v128.load(m + at), f32x4.mul(c1, grad));
      const square = madd(b2, v128.load(v + at), f32x4.mul(c2, f32x4.mul(grad, grad)));
      const denominator = madd(f32x4.sqrt(square), root, e);
      const old = f32x4.mul(v128.load(p + at), keep);
      v128.store(m + at, mean);
      v128.store(v + at, square);
      v128.store(p + at, f32x4.sub(old, f32x4.div(f32x4.mul(step, mean), denominator)));
      i += 4;
    } else {
      const grad = f32x4.mul(v128.load32_zero(g + at), scale);
      const mean = madd(b1, v128.load32_zero(m + at), f32x4.mul(c1, grad));
      const square = madd(b2, v128.load32_zero(v + at), f32x4.mul(c2, f32x4.mul(grad, grad)));
      const denominator = madd(f32x4.sqrt(square), root, e);
      const old = f32x4.mul(v128.load32_zero(p + at), keep);
      v128.store32_lane(m + at, mean, 0);
      v128.store32_lane(v + at, square, 0);
      const next = f32x4.sub(old, f32x4.div(f32x4.mul(step, mean), denominator));
      v128.store32_lane(p + at, next, 0);
      i++;
    }
  }
}
