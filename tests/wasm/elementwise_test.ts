import assert from "node:assert/strict";
import { check } from "./kernels.ts";
import { randoms } from "./helpers.ts";

/** The error function by its series, or its continued fraction where x is large. */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x > 6) return 1;
  let term = x, sum = x;
  for (let n = 1; n < 200; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return x > 3 ? 1 - erfcFraction(x) : 2 / Math.sqrt(Math.PI) * sum;
}
function erfcFraction(x: number): number {
  let f = 0;
  for (let n = 60; n > 0; n--) f = n / 2 / (x + f);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + f);
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const inner = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const geluTanh = (x: number) => x / 2 * (1 + Math.tanh(inner(x)));
const geluErf = (x: number) => x / 2 * (1 + erf(x / Math.SQRT2));
const geluTanhSlope = (x: number) => {
  const t = Math.tanh(inner(x));
  return (1 + t) / 2 + x / 2 * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
};
const geluErfSlope = (x: number) =>
  (1 + erf(x / Math.SQRT2)) / 2 + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);

const UNARY: Record<string, (x: number) => number> = {
  exp: Math.exp,
  log: (x) => Math.log(x),
  tanh: Math.tanh,
  gelu_tanh: geluTanh,
  gelu_erf: geluErf,
  silu: (x) => x * sigmoid(x),
  relu: (x) => Math.max(0, x),
  relu_squared: (x) => Math.max(0, x) ** 2,
  sigmoid,
  neg: (x) => -x,
  abs: Math.abs,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  square: (x) => x * x,
  reciprocal: (x) => 1 / x,
};

Deno.test("unary kernels agree with float64 on every length from 0", () => {
  for (const [name, f] of Object.entries(UNARY)) {
    for (const n of [0, 1, 2, 3, 4, 5, 7, 61, 1001]) {
      check(`${name} of ${n}`, 1e-6, (arena, run) => {
        const values = randoms(n, n + 1, 9);
        const x = arena.put(values), y = arena.out(n + 1);
        run(name, n, x, y);
        const expected = Float32Array.from(values, f);
        // One element more than written: it must be untouched.
        return {
          y: { at: y, length: n + 1, expected: [...expected, Math.fround(-12345.678)] },
        };
      });
    }
  }
});

Deno.test("exp() is within 2e-7 relative over its whole range", () => {
  const values = Float32Array.from({ length: 40_000 }, (_, i) => -87 + i * (175.7 / 40_000));
  check("exp", 1e30, (arena, run) => {
    const x = arena.put(values), y = arena.out(values.length);
    run("exp", values.length, x, y);
    const actual = arena.floats(y, values.length);
    let error = 0;
    values.forEach((v, i) => error = Math.max(error, Math.abs(actual[i] / Math.exp(v) - 1)));
    assert(error < 2e-7, `relative error ${error}`);
    return {};
  });
});

Deno.test("unary kernels treat NaN, infinities and extremes as float32 does", () => {
  const N = NaN, I = Infinity;
  const cases: Record<string, [number, number][]> = {
    exp: [[N, N], [I, I], [-I, 0], [0, 1], [-0, 1], [1000, I], [-1000, 0], [3e38, I]],
    log: [[N, N], [I, I], [-I, N], [0, -I], [-0, -I], [-1, N], [1, 0], [1e-40, Math.log(1e-40)]],
    tanh: [[N, N], [I, 1], [-I, -1], [0, 0], [100, 1], [1e-30, 1e-30]],
    sigmoid: [[N, N], [I, 1], [-I, 0], [200, 1], [-200, 0]],
    relu: [[N, N], [I, I], [-I, 0]],
    relu_squared: [[N, N], [I, I], [-I, 0]],
    gelu_tanh: [[N, N], [I, I], [50, 50], [-50, -0]],
    gelu_erf: [[N, N], [I, I], [50, 50], [-50, -0]],
    silu: [[N, N], [I, I], [-100, -0]],
    sqrt: [[N, N], [I, I], [-1, N]],
  };
  for (const [name, pairs] of Object.entries(cases)) {
    check(name, 1e-5, (arena, run) => {
      const x = arena.put(pairs.map((p) => p[0])), y = arena.out(pairs.length);
      run(name, pairs.length, x, y);
      return { y: { at: y, length: pairs.length, expected: pairs.map((p) => p[1]) } };
    });
  }
});

const BINARY: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  maximum: Math.max,
  minimum: Math.min,
  gelu_tanh_backward: (d, x) => d * geluTanhSlope(x),
  gelu_erf_backward: (d, x) => d * geluErfSlope(x),
  silu_backward: (d, x) => d * sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  relu_backward: (d, x) => x > 0 ? d : 0,
  relu_squared_backward: (d, x) => x > 0 ? 2 * d * x : 0,
  tanh_backward: (d, y) => d * (1 - y * y),
  sigmoid_backward: (d, y) => d * y * (1 - y),
  swiglu: (g, u) => g * sigmoid(g) * u,
};

Deno.test("binary and backward kernels agree with float64 on every length from 0", () => {
  for (const [name, f] of Object.entries(BINARY)) {
    for (const n of [0, 1, 3, 4, 6, 103]) {
      check(`${name} of ${n}`, 2e-6, (arena, run) => {
        const a = randoms(n, 3, 5), b = randoms(n, 4, 5);
        const y = arena.out(n + 1);
        run(name, n, arena.put(a), arena.put(b), y);
        const expected = [...a].map((v, i) => f(v, b[i]));
        return { y: { at: y, length: n + 1, expected: [...expected, Math.fround(-12345.678)] } };
      });
    }
  }
});

Deno.test("swiglu_backward() agrees with float64", () => {
  check("swiglu_backward", 2e-6, (arena, run) => {
    const n = 27, d = randoms(n, 1), g = randoms(n, 2, 4), u = randoms(n, 3);
    const dg = arena.out(n), du = arena.out(n);
    run("swiglu_backward", n, arena.put(d), arena.put(g), arena.put(u), dg, du);
    const left = [...d].map((v, i) => v * u[i] * sigmoid(g[i]) * (1 + g[i] * (1 - sigmoid(g[i]))));
    const right = [...d].map((v, i) => v * g[i] * sigmoid(g[i]));
    return {
      dGate: { at: dg, length: n, expected: left },
      dUp: { at: du, length: n, expected: right },
    };
  });
});

Deno.test("scalar kernels, fill, copy and axpy agree with float64", () => {
  const n = 43, s = Math.fround(1.7), x = randoms(n, 1), y0 = randoms(n, 2);
  const scalars: Record<string, (v: number) => number> = {
    add_scalar: (v) => v + s,
    mul_scalar: (v) => v * s,
    div_scalar: (v) => v / s,
    scalar_sub: (v) => s - v,
    scalar_div: (v) => s / v,
  };
  for (const [name, f] of Object.entries(scalars)) {
    check(name, 1e-6, (arena, run) => {
      const y = arena.out(n);
      run(name, n, arena.put(x), s, y);
      return { y: { at: y, length: n, expected: [...x].map(f) } };
    });
  }
  check("mul_device_scalar", 1e-6, (arena, run) => {
    const y = arena.out(n);
    run("mul_device_scalar", n, arena.put(x), arena.put([s]), y);
    return { y: { at: y, length: n, expected: [...x].map((v) => v * s) } };
  });
  check("fill, copy, axpy", 1e-6, (arena, run) => {
    const a = arena.out(n), b = arena.out(n), c = arena.put(y0), from = arena.put(x);
    run("fill", n, a, s);
    run("copy", n, from, b);
    run("axpy", n, s, from, c);
    return {
      fill: { at: a, length: n, expected: new Float32Array(n).fill(s) },
      copy: { at: b, length: n, expected: x },
      axpy: { at: c, length: n, expected: [...y0].map((v, i) => v + s * x[i]) },
    };
  });
});

Deno.test("row_add() and row_mul() broadcast a row", () => {
  for (const [rows, columns] of [[0, 5], [5, 0], [1, 1], [7, 9], [30, 64]]) {
    const x = randoms(rows * columns, 1), row = randoms(columns, 2);
    check(`${rows} x ${columns}`, 1e-6, (arena, run) => {
      const a = arena.out(x.length), b = arena.out(x.length);
      const px = arena.put(x), pr = arena.put(row);
      run("row_add", rows, px, pr, a, columns);
      run("row_mul", rows, px, pr, b, columns);
      return {
        add: { at: a, length: x.length, expected: [...x].map((v, i) => v + row[i % columns]) },
        mul: { at: b, length: x.length, expected: [...x].map((v, i) => v * row[i % columns]) },
      };
    });
  }
});

Deno.test("adamw() follows the float64 recursion over several steps", () => {
  const n = 39, p = randoms(n, 1), m = new Float64Array(n), v = new Float64Array(n);
  const [lr, b1, b2, eps, decay, clip] = [1e-2, 0.9, 0.95, 1e-8, 0.1, 0.5];
  const expected = Float64Array.from(p);
  const grads = [1, 2, 3].map((step) => randoms(n, 10 + step));
  grads.forEach((grad, i) => {
    for (let j = 0; j < n; j++) {
      const g = grad[j] * clip;
      m[j] = b1 * m[j] + (1 - b1) * g;
      v[j] = b2 * v[j] + (1 - b2) * g * g;
      const mean = m[j] / (1 - b1 ** (i + 1)), square = v[j] / (1 - b2 ** (i + 1));
      expected[j] -= lr * decay * expected[j] + lr * mean / (Math.sqrt(square) + eps);
    }
  });
  check("adamw", 1e-6, (arena, run) => {
    const pp = arena.put(p),
      pm = arena.put(new Float32Array(n)),
      pv = arena.put(new Float32Array(n));
    const scale = arena.put([clip]);
    grads.forEach((grad, i) => {
      const g = arena.put(grad);
      // deno-fmt-ignore
      run("adamw", n, pp, g, pm, pv, lr, b1, b2, eps, decay, 1 - b1 ** (i + 1), 1 - b2 ** (i + 1), scale);
    });
    return {
      p: { at: pp, length: n, expected },
      m: { at: pm, length: n, expected: m },
      v: { at: pv, length: n, expected: v },
    };
  });
});
