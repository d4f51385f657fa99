import assert from "node:assert/strict";
import { attentionParams, dropoutFactors } from "../../kernels/attention/attention.ts";
import { attentionBackwardSimd, attentionSimd } from "../../kernels/attention/attention_simd.ts";
import { Blas } from "../../src/device/cpu/blas.ts";
import { ThreadPool } from "../../src/device/cpu/threads.ts";
import { documentPositions } from "../kernels/case.ts";
import { Arena, randoms, worst } from "./helpers.ts";
import { assertSame } from "../support/compare.ts";

interface Case {
  batch: number;
  heads: number;
  kvHeads: number;
  queries: number;
  keys: number;
  d: number;
  step?: number;
  block?: number;
  window?: number;
  position?: number;
  dropout?: number;
  padded?: boolean;
  documents?: 1;
  /** [batch, time, heads, d], as a projection leaves it, instead of [batch, heads, time, d]. */
  byTime?: boolean;
}

const CASES: Case[] = [
  { batch: 1, heads: 1, kvHeads: 1, queries: 1, keys: 1, d: 1 },
  { batch: 2, heads: 2, kvHeads: 2, queries: 7, keys: 7, d: 5, step: 1 },
  { batch: 1, heads: 4, kvHeads: 2, queries: 33, keys: 33, d: 16, step: 1, byTime: true },
  { batch: 2, heads: 3, kvHeads: 1, queries: 21, keys: 45, d: 12, padded: true },
  { batch: 1, heads: 2, kvHeads: 2, queries: 150, keys: 150, d: 64, step: 1, byTime: true },
  { batch: 1, heads: 2, kvHeads: 1, queries: 61, keys: 141, d: 8, step: 1, padded: true },
  { batch: 1, heads: 2, kvHeads: 2, queries: 30, keys: 20, d: 8, step: 1 },
  { batch: 2, heads: 4, kvHeads: 2, queries: 1, keys: 137, d: 20, step: 1, padded: true },
  { batch: 1, heads: 2, kvHeads: 2, queries: 3, keys: 260, d: 33, step: 1 },
  { batch: 1, heads: 1, kvHeads: 1, queries: 25, keys: 9, d: 256 },
  { batch: 1, heads: 1, kvHeads: 1, queries: 6, keys: 0, d: 4 },
  { batch: 1, heads: 2, kvHeads: 1, queries: 150, keys: 150, d: 12, step: 1, block: 8 },
  {
    batch: 1,
    heads: 1,
    kvHeads: 1,
    queries: 300,
    keys: 300,
    d: 8,
    step: 1,
    block: 100,
    padded: true,
  },
  { batch: 1, heads: 1, kvHeads: 1, queries: 33, keys: 290, d: 8, step: 1, block: 150 },
  { batch: 2, heads: 2, kvHeads: 2, queries: 150, keys: 18, d: 8, step: 8, position: 0 },
  {
    batch: 1,
    heads: 2,
    kvHeads: 2,
    queries: 300,
    keys: 150,
    d: 8,
    step: 2,
    position: 1,
    padded: true,
  },
  { batch: 1, heads: 2, kvHeads: 1, queries: 260, keys: 290, d: 8, step: 1, window: 60 },
  { batch: 2, heads: 2, kvHeads: 1, queries: 2, keys: 200, d: 8, step: 1, window: 9, padded: true },
  { batch: 2, heads: 2, kvHeads: 1, queries: 1, keys: 200, d: 8, step: 1, block: 7, padded: true },
  { batch: 1, heads: 2, kvHeads: 1, queries: 2, keys: 24, d: 8, step: 8, position: 190 },
  { batch: 2, heads: 4, kvHeads: 2, queries: 301, keys: 301, d: 8, step: 1, dropout: 0.3 },
  { batch: 2, heads: 2, kvHeads: 2, queries: 2, keys: 33, d: 8, padded: true, dropout: 0.3 },
  {
    batch: 2,
    heads: 4,
    kvHeads: 2,
    queries: 301,
    keys: 301,
    d: 8,
    step: 1,
    documents: 1,
    byTime: true,
  },
  {
    batch: 2,
    heads: 2,
    kvHeads: 1,
    queries: 150,
    keys: 150,
    d: 12,
    step: 1,
    documents: 1,
    window: 9,
    dropout: 0.3,
  },
  { batch: 2, heads: 2, kvHeads: 1, queries: 3, keys: 3, d: 12, step: 1, documents: 1 },
  // Large enough for BLAS.
  { batch: 1, heads: 4, kvHeads: 2, queries: 300, keys: 300, d: 32, step: 1, byTime: true },
  { batch: 2, heads: 2, kvHeads: 1, queries: 131, keys: 600, d: 16, step: 1, padded: true },
  { batch: 1, heads: 2, kvHeads: 2, queries: 130, keys: 700, d: 20, step: 1, window: 140 },
  { batch: 1, heads: 2, kvHeads: 2, queries: 140, keys: 70, d: 64 },
  { batch: 2, heads: 2, kvHeads: 1, queries: 270, keys: 270, d: 16, step: 1, dropout: 0.3 },
  { batch: 1, heads: 1, kvHeads: 1, queries: 300, keys: 75, d: 16, step: 4, position: 0 },
  {
    batch: 2,
    heads: 4,
    kvHeads: 2,
    queries: 390,
    keys: 390,
    d: 16,
    step: 1,
    documents: 1,
    byTime: true,
  },
  {
    batch: 2,
    heads: 2,
    kvHeads: 2,
    queries: 390,
    keys: 390,
    d: 16,
    step: 1,
    documents: 1,
    window: 140,
    dropout: 0.3,
  },
];

type Layout = { strides: [batch: number, head: number, time: number]; size: number };

function layout(test: Case, heads: number, time: number): Layout {
  const { batch, d } = test;
  return {
    size: batch * heads * time * d,
    strides: test.byTime ? [time * heads * d, d, heads * d] : [heads * time * d, time * d, d],
  };
}

/** The strides of a layout as the parameters name them. */
function strides(name: string, { strides: [batch, head, time] }: Layout): Record<string, number> {
  return { [`${name}Batch`]: batch, [`${name}Head`]: head, [`${name}Time`]: time };
}

/** Everything in float64, with the weights stored. */
function reference(
  test: Case,
  data: Record<"q" | "k" | "v" | "dO", Float32Array>,
  mask: ArrayLike<number>,
) {
  const { batch, heads, kvHeads, queries, keys, d } = test;
  const ql = layout(test, heads, queries), kl = layout(test, kvHeads, keys);
  const o = new Float64Array(ql.size), dQ = new Float64Array(ql.size);
  const dK = new Float64Array(kl.size), dV = new Float64Array(kl.size);
  const lse = new Float64Array(batch * heads * queries);
  const scale = 1 / Math.sqrt(d);
  const at = (l: Layout, b: number, h: number, t: number) =>
    b * l.strides[0] + h * l.strides[1] + t * l.strides[2];
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads));
      for (let i = 0; i < queries; i++) {
        const qi = at(ql, b, h, i),
          keysAt = Array.from({ length: keys }, (_, j) => at(kl, b, kv, j));
        const scores = keysAt.map((kj, j) => {
          const { step = 0, block = 0, window = Infinity, position = keys - queries } = test;
          const own = position + i;
          const later = step > 0 && (j + 1) * step - 1 > own;
          const outside = own - j >= window ||
            block > 0 && j < Math.floor(own / block) * block;
          const hidden = test.documents ? own - j > mask[b * keys + i]! : mask[b * keys + j] === 0;
          if (hidden || later || outside) return -Infinity;
          let s = 0;
          for (let x = 0; x < d; x++) s += data.q[qi + x] * data.k[kj + x];
          return s * scale;
        });
        const top = Math.max(...scores);
        const row = b * heads * queries + h * queries + i;
        if (top === -Infinity) {
          lse[row] = Infinity;
          continue;
        }
        const e = scores.map((s) => Math.exp(s - top)), sum = e.reduce((a, c) => a + c, 0);
        lse[row] = top + Math.log(sum);
        const p = e.map((w) => w / sum);
        const dropout = { batch, heads, queries, keys, d, dropout: test.dropout };
        const factors = dropoutFactors(attentionParams(dropout), row);
        let delta = 0;
        p.forEach((w, j) => {
          for (let x = 0; x < d; x++) o[qi + x] += factors[j] * w * data.v[keysAt[j] + x];
        });
        for (let x = 0; x < d; x++) delta += o[qi + x] * data.dO[qi + x];
        p.forEach((w, j) => {
          let dp = 0;
          for (let x = 0; x < d; x++) dp += data.dO[qi + x] * data.v[keysAt[j] + x];
          const ds = w * (factors[j] * dp - delta) * scale;
          for (let x = 0; x < d; x++) {
            dQ[qi + x] += ds * data.k[keysAt[j] + x];
            dK[keysAt[j] + x] += ds * data.q[qi + x];
            dV[keysAt[j] + x] += factors[j] * w * data.dO[qi + x];
          }
        });
      }
    }
  }
  return { o, lse, dQ, dK, dV };
}

/** Holds every case against float64, on 1 and on 3 threads, which have to give the same bits. */
function checkCases(blas?: Blas): void {
  using one = ThreadPool.start({ threads: 1, native: blas?.kernels });
  using three = ThreadPool.start({ threads: 3, native: blas?.kernels });
  three.waitForWorkers();
  for (const test of CASES) {
    const { batch, heads, kvHeads, queries, keys } = test;
    const ql = layout(test, heads, queries), kl = layout(test, kvHeads, keys);
    const data = {
      q: randoms(ql.size, 1, 3),
      k: randoms(kl.size, 2, 3),
      v: randoms(kl.size, 3),
      dO: randoms(ql.size, 4),
    };
    const valid = Array.from(
      { length: batch * keys },
      (_, j) => Number(!test.padded || j % 5 !== 1),
    );
    const mask = test.documents ? [...documentPositions(batch, keys)] : valid;
    const expected = reference(test, data, mask);
    const runs = [one, three].map((pool) => {
      const arena = new Arena(pool, pool === three ? 2 ** 31 : undefined);
      const rows = batch * heads * queries;
      const { padded, byTime: _, ...sizes } = test;
      const params = attentionParams({
        ...sizes,
        ...strides("q", ql),
        ...strides("k", kl),
        ...strides("v", kl),
        ...strides("o", ql),
      });
      const at = {
        q: arena.put(data.q),
        k: arena.put(data.k),
        v: arena.put(data.v),
        dO: arena.put(data.dO),
        mask: padded || test.documents ? arena.putInts(mask) : 0,
        o: arena.out(ql.size),
        lse: arena.out(2 * rows),
        dQ: arena.out(ql.size),
        dK: arena.out(kl.size),
        dV: arena.out(kl.size),
      };
      const { memory, threads } = pool;
      const context = { memory, threads, blas, run: pool.run.bind(pool) };
      attentionSimd(context, params, at);
      attentionBackwardSimd(context, params, at);
      return {
        o: arena.floats(at.o, ql.size).slice(),
        lse: arena.floats(at.lse, rows).slice(),
        dQ: arena.floats(at.dQ, ql.size).slice(),
        dK: arena.floats(at.dK, kl.size).slice(),
        dV: arena.floats(at.dV, kl.size).slice(),
      };
    });
    for (const name of ["o", "lse", "dQ", "dK", "dV"] as const) {
      const error = worst(runs[0][name], expected[name]);
      assert(error < 1e-5, `${JSON.stringify(test)}: ${name} is off by ${error}`);
      assertSame(runs[1][name], runs[0][name], `${name} depends on the threads`);
    }
  }
}

Deno.test("attentionSimd() and its gradients agree with float64 on 1 and 3 threads, to the same bits", () =>
  checkCases());

Deno.test("attentionSimd() and its gradients do so with BLAS, where one is installed", () => {
  const blas = Blas.open();
  if (blas === undefined) return console.log("no BLAS on this machine");
  checkCases(blas);
  blas.close();
});

Deno.test("attentionSimd() takes each sequence at its own position", () => {
  using pool = ThreadPool.start({ threads: 1 });
  const arena = new Arena(pool), [batch, keys, d, block] = [4, 150, 8, 16];
  const [q, k, v] = [batch * d, batch * keys * d, batch * keys * d].map((size, i) =>
    arena.put(randoms(size, i))
  );
  const positions = [0, 15, 64, 149];
  for (const queries of [1, 5]) {
    const own = { heads: 1, d, keys, queries, step: 1, block, qBatch: d, qHead: 0, qTime: 0 };
    const o = arena.out(batch * queries * d);
    const all = { q, k, v, o, lse: 0, positions: arena.putInts(positions) };
    attentionSimd(pool, attentionParams({ ...own, batch }), all);
    positions.forEach((position, b) => {
      const alone = arena.out(queries * d);
      const here = { q: q + 4 * b * d, k: k + 4 * b * keys * d, v: v + 4 * b * keys * d };
      const params = attentionParams({ ...own, batch: 1, position });
      attentionSimd(pool, params, { ...here, o: alone, lse: 0 });
      const found = arena.floats(o + 4 * b * queries * d, queries * d);
      assertSame(found, arena.floats(alone, queries * d));
    });
  }
});

Deno.test("attentionParams() refuses heads that cannot be shared and heads that are too large", () => {
  const base = { batch: 1, heads: 3, queries: 1, keys: 1, d: 4 };
  const message = /expected a multiple of 2 key heads but got 3 query heads/;
  assert.throws(() => attentionParams({ ...base, kvHeads: 2 }), { name: "RangeError", message });
  const sizes = /1 to 256 elements but got 257/;
  assert.throws(() => attentionParams({ ...base, d: 257 }), { name: "RangeError", message: sizes });
});

Deno.test("attentionSimd() gives NaN to a query that is NaN, masked keys or not, and to no other", () => {
  using pool = ThreadPool.start({ threads: 1 });
  const arena = new Arena(pool), t = 20, d = 8;
  const q = randoms(t * d, 1).map((v, i) => i < d ? NaN : v);
  const o = arena.out(t * d);
  const valid = Array.from({ length: t }, (_, j) => Number(j < 11));
  const given = {
    q: arena.put(q),
    k: arena.put(randoms(t * d, 2)),
    v: arena.put(randoms(t * d, 3)),
  };
  const params = attentionParams({ batch: 1, heads: 1, queries: t, keys: t, d });
  attentionSimd(pool, params, { ...given, o, lse: 0, mask: arena.putInts(valid) });
  const rows = arena.floats(o, t * d);
  assert(rows.subarray(0, d).every(Number.isNaN));
  assert(rows.subarray(d).every(Number.isFinite));
});
