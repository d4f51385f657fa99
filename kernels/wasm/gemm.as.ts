// Matrix product: packed panels and a micro-kernel of 5 rows x 8 columns.
// A is packed in panels of 5 rows, B in panels of 8 columns, both k-major and zero-padded to a multiple of 4 in k.
// The micro-kernel reads A by whole vectors and broadcasts with shuffles: V8 checks the bounds of every load, so
// fewer and wider loads per multiply-add win. 10 accumulators + 2 of B + 2 of A fit in the 16 vector registers of
// x86.
// Every element of C is computed by the same operations in the same order in every tile, so results depend neither on
// the number of threads nor on which thread computes a tile.

import { matrixAt, scratch } from "./layout.as";

const ROWS = 5;
const COLUMNS = 8;
/** The longest run of k that is packed at once: a B panel of 256 x 8 floats fits in the L1 cache. */
export const K_BLOCK = 256;
/** The largest tile of a task, such that its panels fit in the thread's scratch. */
const MAX_TILE_ROWS = 640;
const A_BYTES: usize = MAX_TILE_ROWS * K_BLOCK * 4;
/** One micro-tile, for the edges. */
const EDGE_BYTES: usize = 256;

function splat0(v: v128): v128 {
  return v128.shuffle<f32>(v, v, 0, 0, 0, 0);
}

function splat1(v: v128): v128 {
  return v128.shuffle<f32>(v, v, 1, 1, 1, 1);
}

function splat2(v: v128): v128 {
  return v128.shuffle<f32>(v, v, 2, 2, 2, 2);
}

function splat3(v: v128): v128 {
  return v128.shuffle<f32>(v, v, 3, 3, 3, 3);
}

function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

/** One row of a full tile: C = [C +] alpha * x [+ bias]. */

function putRow(
  c: usize,
  x0: v128,
  x1: v128,
  alpha: v128,
  accumulate: bool,
  bias: usize,
): void {
  x0 = f32x4.mul(x0, alpha);
  x1 = f32x4.mul(x1, alpha);
  if (accumulate) {
    x0 = f32x4.add(v128.load(c), x0);
    x1 = f32x4.add(v128.load(c, 16), x1);
  }
  if (bias) {
    x0 = f32x4.add(x0, v128.load(bias));
    x1 = f32x4.add(x1, v128.load(bias, 16));
  }
  v128.store(c, x0);
  v128.store(c, x1, 16);
}

/** A 5 x 8 tile over `groups` groups of four k. Strides are in bytes. */
function micro(
  a: usize,
  b: usize,
  groups: i32,
  c: usize,
  ldc: usize,
  alpha: f32,
  accumulate: bool,
  bias: usize,
): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00;
  let c21 = c00, c30 = c00, c31 = c00, c40 = c00, c41 = c00;
  for (; groups > 0; groups--) {
    let b0 = v128.load(b), b1 = v128.load(b, 16);
    let v = v128.load(a);
    let s = splat0(v);
    c00 = madd(s, b0, c00);
    c01 = madd(s, b1, c01);
    s = splat1(v);
    c10 = madd(s, b0, c10);
    c11 = madd(s, b1, c11);
    s = splat2(v);
    c20 = madd(s, b0, c20);
    c21 = madd(s, b1, c21);
    s = splat3(v);
    c30 = madd(s, b0, c30);
    c31 = madd(s, b1, c31);
    v = v128.load(a, 16);
    s = splat0(v);
    c40 = madd(s, b0, c40);
    c41 = madd(s, b1, c41);

    b0 = v128.load(b, 32);
    b1 = v128.load(b, 48);
    s = splat1(v);
    c00 = madd(s, b0, c00);
    c01 = madd(s, b1, c01);
    s = splat2(v);
    c10 = madd(s, b0, c10);
    c11 = madd(s, b1, c11);
    s = splat3(v);
    c20 = madd(s, b0, c20);
    c21 = madd(s, b1, c21);
    v = v128.load(a, 32);
    s = splat0(v);
    c30 = madd(s, b0, c30);
    c31 = madd(s, b1, c31);
    s = splat1(v);
    c40 = madd(s, b0, c40);
    c41 = madd(s, b1, c41);

    b0 = v128.load(b, 64);
    b1 = v128.load(b, 80);
    s = splat2(v);
    c00 = madd(s, b0, c00);
    c01 = madd(s, b1, c01);
    s = splat3(v);
    c10 = madd(s, b0, c10);
    c11 = madd(s, b1, c11);
    v = v128.load(a, 48);
    s = splat0(v);
    c20 = madd(s, b0, c20);
    c21 = madd(s, b1, c21);
    s = splat1(v);
    c30 = madd(s, b0, c30);
    c31 = madd(s, b1, c31);
    s = splat2(v);
    c40 = madd(s, b0, c40);
    c41 = madd(s, b1, c41);

    b0 = v128.load(b, 96);
    b1 = v128.load(b, 112);
    s = splat3(v);
    c00 = madd(s, b0, c00);
    c01 = madd(s, b1, c01);
    v = v128.load(a, 64);
    s = splat0(v);
    c10 = madd(s, b0, c10);
    c11 = madd(s, b1, c11);
    s = splat1(v);
    c20 = madd(s, b0, c20);
    c21 = madd(s, b1, c21);
    s = splat2(v);
    c30 = madd(s, b0, c30);
    c31 = madd(s, b1, c31);
    s = splat3(v);
    c40 = madd(s, b0, c40);
    c41 = madd(s, b1, c41);
    a += 80;
    b += 128;
  }
  const scale = f32x4.splat(alpha);
  putRow(c, c00, c01, scale, accumulate, bias);
  c += ldc;
  putRow(c, c10, c11, scale, accumulate, bias);
  c += ldc;
  putRow(c, c20, c21, scale, accumulate, bias);
  c += ldc;
  putRow(c, c30, c31, scale, accumulate, bias);
  c += ldc;
  putRow(c, c40, c41, scale, accumulate, bias);
}

/**
 * Packed A times packed B into a block of C; `edge` is scratch for one tile. Strides are in bytes. `panel` is the k
 * that B was packed with; if it exceeds `k`, the rest is not used.
 */
export function packedProduct(
  a: usize,
  b: usize,
  rows: i32,
  columns: i32,
  k: i32,
  panel: i32,
  c: usize,
  ldc: usize,
  alpha: f32,
  accumulate: bool,
  bias: usize,
  edge: usize,
): void {
  const groups = (k + 3) >> 2, panelBytes = <usize> ((panel + 3) >> 2) * 128;
  for (let j = 0; j < columns; j += COLUMNS) {
    const bPanel = b + <usize> (j >> 3) * panelBytes;
    const biasHere = bias ? bias + (<usize> j << 2) : 0;
    let aPanel = a;
    for (let i = 0; i < rows; i += ROWS) {
      const cHere = c + <usize> i * ldc + (<usize> j << 2);
      if (i + ROWS <= rows && j + COLUMNS <= columns) {
        micro(aPanel, bPanel, groups, cHere, ldc, alpha, accumulate, biasHere);
      } else {
        micro(aPanel, bPanel, groups, edge, 32, alpha, false, 0);
        const height = min(ROWS, rows - i), width = min(COLUMNS, columns - j);
        for (let y = 0; y < height; y++) {
          const to = cHere + <usize> y * ldc;
          for (let x = 0; x < width; x++) {
            const at = <usize> x << 2;
            let value = load<f32>(edge + <usize> y * 32 + at);
            if (accumulate) value = load<f32>(to + at) + value;
            if (bias) value += load<f32>(biasHere + at);
            store<f32>(to + at, value);
          }
        }
      }
      aPanel += <usize> groups * 80;
    }
  }
}

/** Packs `rows` x `k` of a row-major A (stride in bytes) into panels of 5 rows. */
export function packA(from: usize, lda: usize, rows: i32, k: i32, to: usize): void {
  const padded = (k + 3) & ~3;
  for (let i = 0; i < rows; i += ROWS) {
    const height = min(ROWS, rows - i);
    let p0 = from + <usize> i * lda;
    let j = 0;
    if (height == ROWS) {
      let p1 = p0 + lda, p2 = p1 + lda, p3 = p2 + lda, p4 = p3 + lda;
      for (; j + 4 <= k; j += 4) {
        const r0 = v128.load(p0), r1 = v128.load(p1), r2 = v128.load(p2), r3 = v128.load(p3);
        const r4 = v128.load(p4);
        const l01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5),
          h01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
        const l23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5),
          h23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
        const t1 = v128.shuffle<f32>(l01, l23, 2, 3, 6, 7);
        const t2 = v128.shuffle<f32>(h01, h23, 0, 1, 4, 5);
        const t3 = v128.shuffle<f32>(h01, h23, 2, 3, 6, 7);
        v128.store(to, v128.shuffle<f32>(l01, l23, 0, 1, 4, 5));
        v128.store(to, v128.shuffle<f32>(r4, t1, 0, 4, 5, 6), 16);
        v128.store(
          to,
          v128.shuffle<f32>(v128.shuffle<f32>(t1, r4, 3, 5, 3, 5), t2, 0, 1, 4, 5),
          32,
        );
        v128.store(
          to,
          v128.shuffle<f32>(v128.shuffle<f32>(t2, r4, 2, 3, 6, 6), t3, 0, 1, 2, 4),
          48,
        );
        v128.store(to, v128.shuffle<f32>(t3, r4, 1, 2, 3, 7), 64);
        p0 += 16;
        p1 += 16;
        p2 += 16;
        p3 += 16;
        p4 += 16;
        to += 80;
      }
    }
    const row = from + <usize> i * lda;
    for (; j < padded; j++) {
      for (let y = 0; y < ROWS; y++) {
        const inside = y < height && j < k;
        store<f32>(to, inside ? load<f32>(row + <usize> y * lda + (<usize> j << 2)) : 0);
        to += 4;
      }
    }
  }
}

/** Packs the same panels from A stored transposed, `k` x `rows`. */
export function packATransposed(from: usize, lda: usize, rows: i32, k: i32, to: usize): void {
  const padded = (k + 3) & ~3;
  for (let i = 0; i < rows; i += ROWS) {
    const height = min(ROWS, rows - i);
    let at = from + (<usize> i << 2);
    let j = 0;
    if (height == ROWS) {
      for (; j < k; j++) {
        v128.store(to, v128.load(at));
        store<f32>(to, load<f32>(at, 16), 16);
        at += lda;
        to += 20;
      }
    }
    for (; j < padded; j++) {
      for (let y = 0; y < ROWS; y++) {
        const inside = y < height && j < k;
        store<f32>(to, inside ? load<f32>(at + (<usize> y << 2)) : 0);
        to += 4;
      }
      at += lda;
    }
  }
}

/** Packs `k` x `columns` of a row-major B (stride in bytes) into panels of 8 columns. */
export function packB(from: usize, ldb: usize, columns: i32, k: i32, to: usize): void {
  const padded = (k + 3) & ~3;
  for (let i = 0; i < columns; i += COLUMNS) {
    const width = min(COLUMNS, columns - i);
    let at = from + (<usize> i << 2);
    let j = 0;
    if (width == COLUMNS) {
      for (; j < k; j++) {
        v128.store(to, v128.load(at));
        v128.store(to, v128.load(at, 16), 16);
        at += ldb;
        to += 32;
      }
    }
    for (; j < padded; j++) {
      for (let x = 0; x < COLUMNS; x++) {
        const inside = x < width && j < k;
        store<f32>(to, inside ? load<f32>(at + (<usize> x << 2)) : 0);
        to += 4;
      }
      at += ldb;
    }
  }
}

/** Transposes four rows of four floats into a panel of 8 columns. */

function transposeInto(p: usize, ldb: usize, to: usize): void {
  const r0 = v128.load(p), r1 = v128.load(p + ldb);
  const r2 = v128.load(p + 2 * ldb), r3 = v128.load(p + 3 * ldb);
  const l01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), h01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const l23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), h23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(l01, l23, 0, 1, 4, 5));
  v128.store(to, v128.shuffle<f32>(l01, l23, 2, 3, 6, 7), 32);
  v128.store(to, v128.shuffle<f32>(h01, h23, 0, 1, 4, 5), 64);
  v128.store(to, v128.shuffle<f32>(h01, h23, 2, 3, 6, 7), 96);
}

/** Packs the same panels from B stored transposed, `columns` x `k`. */
export function packBTransposed(from: usize, ldb: usize, columns: i32, k: i32, to: usize): void {
  const padded = (k + 3) & ~3;
  for (let i = 0; i < columns; i += COLUMNS) {
    const width = min(COLUMNS, columns - i);
    const row = from + <usize> i * ldb;
    let j = 0;
    if (width == COLUMNS) {
      for (; j + 4 <= k; j += 4) {
        const p = row + (<usize> j << 2);
        transposeInto(p, ldb, to);
        transposeInto(p + 4 * ldb, ldb, to + 16);
        to += 128;
      }
    }
    for (; j < padded; j++) {
      for (let x = 0; x < COLUMNS; x++) {
        const inside = x < width && j < k;
        store<f32>(to, inside ? load<f32>(row + <usize> x * ldb + (<usize> j << 2)) : 0);
        to += 4;
      }
    }
  }
}

/**
 * Tiles [start, end) of a batch of products C = [C +] alpha * op(A) op(B) [+ bias]; names as in `MatmulParams`.
 *
 * A tile is `tileRows` x `tileColumns` of one product; tiles are counted down the rows first, then across, then
 * through the batch. Leading dimensions and batch strides are in elements. `bias` is n floats, or 0 for none.
 * `accumulate` is a beta of 1: it adds to the content of C.
 */
export function sgemm(
  thread: i32,
  start: i32,
  end: i32,
  m: i32,
  n: i32,
  k: i32,
  alpha: f32,
  inner: usize,
  a: usize,
  lda: usize,
  aOuter: usize,
  aInner: usize,
  transposeA: bool,
  b: usize,
  ldb: usize,
  bOuter: usize,
  bInner: usize,
  transposeB: bool,
  c: usize,
  ldc: usize,
  cOuter: usize,
  cInner: usize,
  accumulate: bool,
  bias: usize,
  tileRows: i32,
  tileColumns: i32,
): void {
  const edge = scratch(thread), aPack = edge + EDGE_BYTES, bPack = aPack + A_BYTES;
  lda <<= 2;
  ldb <<= 2;
  ldc <<= 2;
  const down = (m + tileRows - 1) / tileRows, across = (n + tileColumns - 1) / tileColumns;
  // Blocks of k of equal size, chosen by k alone: the order of the sums must not depend on the tiling.
  const blocks = max(1, (k + K_BLOCK - 1) / K_BLOCK);
  const kBlock = ((k + blocks - 1) / blocks + 3) & ~3;
  for (let tile = start; tile < end; tile++) {
    const item = <usize> (tile / (down * across)), rest = tile % (down * across);
    const i = (rest % down) * tileRows, j = (rest / down) * tileColumns;
    const rows = min(tileRows, m - i), columns = min(tileColumns, n - j);
    const aHere = matrixAt(a, item, inner, aOuter, aInner);
    const bHere = matrixAt(b, item, inner, bOuter, bInner);
    const at = <usize> j << 2;
    const cHere = matrixAt(c, item, inner, cOuter, cInner) + <usize> i * ldc + at;
    for (let block = 0; block < blocks; block++) {
      const p = block * kBlock, length = min(kBlock, k - p);
      if (transposeB) {
        packBTransposed(bHere + <usize> j * ldb + (<usize> p << 2), ldb, columns, length, bPack);
      } else packB(bHere + <usize> p * ldb + at, ldb, columns, length, bPack);
      if (transposeA) {
        packATransposed(aHere + <usize> p * lda + (<usize> i << 2), lda, rows, length, aPack);
      } else packA(aHere + <usize> i * lda + (<usize> p << 2), lda, rows, length, aPack);
      const first = block == 0;
      packedProduct(
        aPack,
        bPack,
        rows,
        columns,
        length,
        length,
        cHere,
        ldc,
        alpha,
        accumulate || !first,
        first && bias ? bias + at : 0,
        edge,
      );
    }
  }
}
