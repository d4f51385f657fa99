import assert from "node:assert/strict";
import { check } from "./kernels.ts";
import { random, randoms } from "./helpers.ts";

Deno.test("gather_rows() and scatter_add_rows() agree with plain loops, hot ids included", () => {
  for (const [rows, columns, vocabulary] of [[0, 3, 5], [9, 1, 2], [50, 7, 3], [33, 40, 100]]) {
    const next = random(3),
      table = randoms(vocabulary * columns, 1),
      dy = randoms(rows * columns, 2);
    const ids = Array.from({ length: rows }, () => Math.floor((next() + 1) / 2 * vocabulary));
    const gradient = Float64Array.from(table);
    ids.forEach((id, r) => {
      for (let j = 0; j < columns; j++) gradient[id * columns + j] += dy[r * columns + j];
    });
    check(`${rows} of ${vocabulary} x ${columns}`, 1e-5, (arena, run) => {
      const pt = arena.put(table), pi = arena.putInts(ids), y = arena.out(rows * columns);
      const sum = arena.put(table);
      run("gather_rows", rows, pt, pi, y, columns, vocabulary);
      run("scatter_add_rows", columns, arena.put(dy), pi, sum, rows, columns, vocabulary);
      return {
        y: {
          at: y,
          length: rows * columns,
          expected: ids.flatMap((id) => [...table.subarray(id * columns, (id + 1) * columns)]),
        },
        table: { at: sum, length: table.length, expected: gradient },
      };
    });
  }
});

Deno.test("gather_rows() and scatter_add_rows() trap on an id outside the table", () => {
  for (const id of [-1, 4]) {
    const bad = (name: string, ...rest: number[]) =>
      check(name, 0, (arena, run) => {
        const t = arena.put(randoms(8, 1)), i = arena.putInts([id]), y = arena.out(8);
        run(name, 1, ...(name === "gather_rows" ? [t, i, y] : [y, i, t]), ...rest);
        return {};
      });
    assert.throws(() => bad("gather_rows", 2, 4), /"gather_rows" failed/);
    assert.throws(() => bad("scatter_add_rows", 1, 2, 4), /"scatter_add_rows" failed/);
  }
});

Deno.test("transpose() agrees with plain loops on odd sizes and padded rows", () => {
  for (
    const [batch, rows, columns] of [[1, 1, 1], [2, 3, 5], [3, 33, 6], [1, 70, 41], [2, 4, 64]]
  ) {
    const ldx = columns + 1, ldy = rows + 2;
    const x = randoms(batch * rows * ldx, 1);
    const expected = new Float32Array(batch * columns * ldy).fill(-12345.678);
    for (let b = 0; b < batch; b++) {
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          expected[(b * columns + j) * ldy + i] = x[(b * rows + i) * ldx + j];
        }
      }
    }
    check(`${batch} x ${rows} x ${columns}`, 0, (arena, run) => {
      const y = arena.out(expected.length);
      // deno-fmt-ignore
      run("transpose", batch * Math.ceil(rows / 32), rows, columns, arena.put(x), ldx, rows * ldx,
        y, ldy, columns * ldy);
      return { y: { at: y, length: expected.length, expected } };
    });
  }
});

Deno.test("strided_copy() and strided_write() permute, slice, broadcast and reverse", () => {
  const dims = [3, 4, 5, 6], x = randoms(360, 1);
  const cases: { shape: number[]; strides: number[]; offset: number }[] = [
    { shape: [3, 5, 4, 6], strides: [120, 6, 30, 1], offset: 0 },
    { shape: [6, 5, 4, 3], strides: [1, 6, 30, 120], offset: 0 },
    { shape: [2, 2, 3, 4], strides: [120, 60, 6, 1], offset: 31 },
    { shape: [3, 4, 5, 6], strides: [120, -30, 6, -1], offset: 95 },
  ];
  const wide = { shape: [2, 4, 3, 6], strides: [0, 30, 0, 1], offset: 0 };
  assert.equal(dims.reduce((a, b) => a * b), x.length);
  for (const { shape, strides, offset } of [...cases, wide]) {
    const index: number[] = [];
    const [d0, d1, d2, d3] = shape, [s0, s1, s2, s3] = strides;
    for (let i = 0; i < d0; i++) {
      for (let j = 0; j < d1; j++) {
        for (let k = 0; k < d2; k++) {
          for (let l = 0; l < d3; l++) index.push(offset + i * s0 + j * s1 + k * s2 + l * s3);
        }
      }
    }
    check(`${shape} by ${strides}`, 1e-6, (arena, run) => {
      const px = arena.put(x), y = arena.out(index.length);
      run("strided_copy", d0 * d1 * d2, px + 4 * offset, y, d1, d2, d3, s0, s1, s2, s3);
      const outputs: ReturnType<Parameters<typeof check>[2]> = {
        copy: { at: y, length: index.length, expected: index.map((i) => x[i]) },
      };
      if (!strides.includes(0)) {
        const set = arena.put(x);
        const source = randoms(index.length, 2), ps = arena.put(source);
        const expected = Float64Array.from(x);
        index.forEach((at, i) => expected[at] = source[i]);
        run("strided_write", d0 * d1 * d2, ps, set + 4 * offset, d1, d2, d3, s0, s1, s2, s3, 0);
        outputs.set = { at: set, length: x.length, expected };
      }
      return outputs;
    });
  }
});
