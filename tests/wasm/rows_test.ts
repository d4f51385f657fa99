import assert from "node:assert/strict";
import { check } from "./kernels.ts";
import { random, randoms } from "./helpers.ts";

const SHAPES = [[0, 3], [1, 1], [3, 2], [5, 4], [9, 7], [30, 33], [65, 100]];

/** Applies `f` to each row in float64. */
function byRow(x: ArrayLike<number>, columns: number, f: (row: number[], r: number) => number[]) {
  const out: number[] = [];
  for (let r = 0; r * columns < x.length; r++) {
    out.push(...f(Array.from({ length: columns }, (_, i) => x[r * columns + i]), r));
  }
  return out;
}
const sum = (x: number[]) => x.reduce((a, b) => a + b, 0);
function softmaxRow(x: number[]): number[] {
  const top = Math.max(...x), e = x.map((v) => Math.exp(v - top)), s = sum(e);
  return e.map((v) => v / s);
}
function lseRow(x: number[]): number {
  const top = Math.max(...x);
  return top + Math.log(sum(x.map((v) => Math.exp(v - top))));
}

Deno.test("softmax() and log_softmax() and their gradients agree with float64", () => {
  for (const [rows, columns] of SHAPES) {
    const n = rows * columns, x = randoms(n, 1, 20), dy = randoms(n, 2);
    if (n > 4) x[0] = -Infinity;
    const y = byRow(x, columns, softmaxRow);
    const l = byRow(x, columns, (row) => row.map((v) => v - lseRow(row)));
    const dRow = (row: number[], r: number) => row.map((_, i) => dy[r * columns + i]);
    check(`${rows} x ${columns}`, 3e-6, (arena, run) => {
      const px = arena.put(x), pd = arena.put(dy);
      const [a, b, c, d] = [0, 0, 0, 0].map(() => arena.out(n));
      run("softmax", rows, px, a, columns);
      run("log_softmax", rows, px, b, columns);
      run("softmax_backward", rows, pd, a, c, columns);
      run("log_softmax_backward", rows, pd, b, d, columns);
      return {
        softmax: { at: a, length: n, expected: y },
        logSoftmax: { at: b, length: n, expected: l },
        softmaxBackward: {
          at: c,
          length: n,
          expected: byRow(y, columns, (p, r) => {
            const g = dRow(p, r), dot = sum(p.map((v, i) => v * g[i]));
            return p.map((v, i) => v * (g[i] - dot));
          }),
        },
        logSoftmaxBackward: {
          at: d,
          length: n,
          expected: byRow(l, columns, (v, r) => {
            const g = dRow(v, r), s = sum(g);
            return v.map((w, i) => g[i] - Math.exp(w) * s);
          }),
        },
      };
    });
  }
});

Deno.test("softmax() of a row with NaN is NaN and of large numbers is finite", () => {
  check("softmax", 1e-6, (arena, run) => {
    const x = arena.put([1, NaN, 2, 3, 4, 3e38, 0, -3e38, 3e38, 0]), y = arena.out(10);
    run("softmax", 2, x, y, 5);
    return { y: { at: y, length: 10, expected: [NaN, NaN, NaN, NaN, NaN, .5, 0, 0, .5, 0] } };
  });
});

Deno.test("layer_norm() and its gradients agree with float64, also far from zero", () => {
  for (const offset of [0, 3000]) {
    for (const [rows, columns] of SHAPES) {
      const n = rows * columns, eps = Math.fround(1e-5);
      const x = randoms(n, 1).map((v) => v + offset), dy = randoms(n, 2);
      const w = randoms(columns, 3), b = randoms(columns, 4);
      const stats = Array.from({ length: rows }, (_, r) => {
        const row = [...x.subarray(r * columns, (r + 1) * columns)], mean = sum(row) / columns;
        const variance = sum(row.map((v) => (v - mean) ** 2)) / columns;
        return { mean, rstd: 1 / Math.sqrt(variance + eps) };
      });
      const hat = byRow(
        x,
        columns,
        (row, r) => row.map((v) => (v - stats[r].mean) * stats[r].rstd),
      );
      const dx = byRow(hat, columns, (h, r) => {
        const g = h.map((_, i) => dy[r * columns + i] * w[i]);
        const a = sum(g) / columns, c = sum(g.map((v, i) => v * h[i])) / columns;
        return g.map((v, i) => (v - a - h[i] * c) * stats[r].rstd);
      });
      const dw = new Array(columns).fill(0), db = new Array(columns).fill(0);
      hat.forEach((h, i) => {
        dw[i % columns] += h * dy[i];
        db[i % columns] += dy[i];
      });
      // A row of one or two equal numbers has rstd 316: compare only where the offset can be represented.
      const tolerance = offset ? 3e-3 : 2e-5;
      check(`${rows} x ${columns} + ${offset}`, tolerance, (arena, run) => {
        const px = arena.put(x), pw = arena.put(w), pd = arena.put(dy);
        const y = arena.out(n),
          mean = arena.out(rows),
          rstd = arena.out(rows),
          plain = arena.out(n);
        const gx = arena.out(n), gw = arena.out(columns), gb = arena.out(columns);
        run("layer_norm", rows, px, pw, arena.put(b), y, mean, rstd, columns, eps);
        run("layer_norm", rows, px, 0, 0, plain, 0, 0, columns, eps);
        run("layer_norm_backward", rows, pd, px, pw, mean, rstd, gx, columns);
        // deno-fmt-ignore
        run("layer_norm_backward_params", columns, pd, px, mean, rstd, gw, gb, rows, columns);
        return {
          y: { at: y, length: n, expected: hat.map((h, i) => h * w[i % columns] + b[i % columns]) },
          plain: { at: plain, length: n, expected: hat },
          mean: { at: mean, length: rows, expected: stats.map((s) => s.mean) },
          rstd: { at: rstd, length: rows, expected: stats.map((s) => s.rstd) },
          dx: { at: gx, length: n, expected: dx },
          dWeight: { at: gw, length: columns, expected: dw },
          dBias: { at: gb, length: columns, expected: db },
        };
      });
    }
  }
});

Deno.test("rms_norm() and its gradients agree with float64", () => {
  for (const [rows, columns] of SHAPES) {
    const n = rows * columns, eps = Math.fround(1e-5);
    const x = randoms(n, 1), dy = randoms(n, 2), w = randoms(columns, 3);
    const rstd = Array.from({ length: rows }, (_, r) => {
      const row = [...x.subarray(r * columns, (r + 1) * columns)];
      return 1 / Math.sqrt(sum(row.map((v) => v * v)) / columns + eps);
    });
    const hat = byRow(x, columns, (row, r) => row.map((v) => v * rstd[r]));
    const dx = byRow(hat, columns, (h, r) => {
      const g = h.map((_, i) => dy[r * columns + i] * w[i]);
      const c = sum(g.map((v, i) => v * h[i])) / columns;
      return g.map((v, i) => (v - h[i] * c) * rstd[r]);
    });
    const dw = new Array(columns).fill(0);
    hat.forEach((h, i) => dw[i % columns] += h * dy[i]);
    check(`${rows} x ${columns}`, 1e-5, (arena, run) => {
      const px = arena.put(x), pw = arena.put(w), pd = arena.put(dy);
      const y = arena.out(n), rs = arena.out(rows), gx = arena.out(n), gw = arena.out(columns);
      run("rms_norm", rows, px, pw, y, rs, columns, eps, 0);
      run("rms_norm_backward", rows, pd, px, pw, rs, gx, columns);
      run("rms_norm_backward_params", columns, pd, px, rs, gw, rows, columns);
      return {
        y: { at: y, length: n, expected: hat.map((h, i) => h * w[i % columns]) },
        rstd: { at: rs, length: rows, expected: rstd },
        dx: { at: gx, length: n, expected: dx },
        dWeight: { at: gw, length: columns, expected: dw },
      };
    });
  }
});

Deno.test("cross_entropy() and both forms of its gradient agree with float64", () => {
  for (const smoothing of [0, Math.fround(0.1)]) {
    for (const [rows, columns] of SHAPES) {
      const ld = columns + 2, scale = 0.5, ignore = -100;
      const logits = randoms(rows * ld, 1, 30), next = random(5);
      const targets = Array.from(
        { length: rows },
        (_, r) => r % 4 === 2 ? ignore : Math.floor((next() + 1) / 2 * columns),
      );
      const rowOf = (r: number) => [...logits.subarray(r * ld, r * ld + columns)];
      const lse = targets.map((_, r) => lseRow(rowOf(r)));
      const sums = lse.flatMap((value, r) => {
        const top = Math.max(...rowOf(r));
        return [top, Math.exp(value - top)];
      });
      const loss = targets.map((t, r) => {
        if (t === ignore) return 0;
        const row = rowOf(r);
        const mean = sum(row.map((v) => lse[r] - v)) / columns;
        return (1 - smoothing) * (lse[r] - row[t]) + smoothing * mean;
      });
      const gradient = Float64Array.from(logits);
      targets.forEach((t, r) => {
        const p = softmaxRow(rowOf(r));
        for (let i = 0; i < columns; i++) {
          gradient[r * ld + i] = t === ignore
            ? 0
            : (p[i] - smoothing / columns - (i === t ? 1 - smoothing : 0)) * scale * 3;
        }
      });
      check(`${rows} x ${columns}, smoothing ${smoothing}`, 1e-5, (arena, run) => {
        const px = arena.put(logits), pt = arena.putInts(targets), three = arena.put([3]);
        const pl = arena.out(rows),
          ps = arena.out(2 * rows),
          fl = arena.out(rows),
          fs = arena.out(rows);
        const dx = arena.put(logits), fused = arena.put(logits);
        const rowScale = arena.put(new Float32Array(rows).fill(1));
        run("cross_entropy", rows, px, ld, pt, pl, ps, columns, ignore, smoothing);
        // deno-fmt-ignore
        run("cross_entropy_backward", rows, px, ld, pt, ps, dx, columns, ignore, smoothing, scale, three, 0);
        // deno-fmt-ignore
        run("cross_entropy_fused", rows, fused, ld, pt, fl, fs, columns, ignore, smoothing, scale, three, rowScale);
        return {
          loss: { at: pl, length: rows, expected: loss },
          sums: { at: ps, length: 2 * rows, expected: sums },
          dLogits: { at: dx, length: rows * ld, expected: gradient },
          fusedLoss: { at: fl, length: rows, expected: loss },
          fusedLse: { at: fs, length: rows, expected: lse },
          fusedGradient: { at: fused, length: rows * ld, expected: gradient },
        };
      });
    }
  }
});

Deno.test("cross_entropy() traps on a target that is no column", () => {
  assert.throws(() =>
    check("bad target", 0, (arena, run) => {
      const x = arena.put([1, 2, 3]), t = arena.putInts([3]), loss = arena.out(1);
      run("cross_entropy", 1, x, 3, t, loss, 0, 3, -100, 0);
      return {};
    }), /kernel "cross_entropy" failed/);
});

Deno.test("sums over rows, columns and everything agree with float64", () => {
  for (const [rows, columns] of [...SHAPES, [70, 300]]) {
    const n = rows * columns, x = randoms(n, 1), z = randoms(n, 2), y0 = randoms(columns, 3);
    const cols = new Array(columns).fill(0);
    x.forEach((v, i) => cols[i % columns] += v);
    const blocks = Math.ceil(n / 4096);
    check(`${rows} x ${columns}`, 1e-5, (arena, run) => {
      const px = arena.put(x), pz = arena.put(z);
      const rs = arena.out(rows),
        rm = arena.out(rows),
        rd = arena.out(rows),
        cs = arena.out(columns);
      const ca = arena.put(y0), partials = arena.out(blocks), total = arena.out(1);
      const squares = arena.put([7]), norm = arena.out(1), factor = arena.out(1);
      run("row_sum", rows, px, rs, columns);
      run("row_max", rows, px, rm, columns);
      run("row_dot", rows, px, pz, rd, columns);
      run("column_sum", columns, px, cs, rows, columns, 0);
      run("column_sum", columns, px, ca, rows, columns, 1);
      run("sum_blocks", blocks, px, n, partials, 0);
      run("sum_partials", 1, partials, blocks, total, 0.5, 0);
      run("sum_blocks", blocks, px, n, partials, 1);
      run("sum_partials", 1, partials, blocks, squares, 1, 1);
      run("clip_factor", 1, squares, 2, norm, factor);
      const square = 7 + sum([...x].map((v) => v * v));
      return {
        rowSum: { at: rs, length: rows, expected: byRow(x, columns, (r) => [sum(r)]) },
        rowMax: { at: rm, length: rows, expected: byRow(x, columns, (r) => [Math.max(...r)]) },
        rowDot: {
          at: rd,
          length: rows,
          expected: byRow(x, columns, (r, i) => [sum(r.map((v, j) => v * z[i * columns + j]))]),
        },
        columnSum: { at: cs, length: columns, expected: cols },
        columnSumAdded: { at: ca, length: columns, expected: cols.map((v, i) => v + y0[i]) },
        total: { at: total, length: 1, expected: [sum([...x]) / 2] },
        squares: { at: squares, length: 1, expected: [square] },
        norm: { at: norm, length: 1, expected: [Math.sqrt(square)] },
        factor: { at: factor, length: 1, expected: [Math.min(1, 2 / (Math.sqrt(square) + 1e-6))] },
      };
    });
  }
});

Deno.test("row_max() and softmax() keep a NaN wherever it stands in the row", () => {
  const columns = 23;
  for (let at = 0; at < columns; at++) {
    const x = randoms(columns, 1).map((v, i) => i === at ? NaN : i < at ? v : -Infinity);
    check(`NaN at ${at}`, 0, (arena, run) => {
      const from = arena.put(x), top = arena.out(1), y = arena.out(columns);
      run("row_max", 1, from, top, columns);
      run("softmax", 1, from, y, columns);
      return {
        rowMax: { at: top, length: 1, expected: [NaN] },
        softmax: { at: y, length: columns, expected: new Array(columns).fill(NaN) },
      };
    });
  }
});
