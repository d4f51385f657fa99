// Kernels that move data: gather and scatter of rows, transposes, strided copies.

/** Rows [start, end): y[r, :] = table[ids[r], :], elements of 4 bytes or 2. Traps on an id outside [0, tableRows). */
export function gather_rows(
  thread: i32,
  start: i32,
  end: i32,
  table: usize,
  ids: usize,
  y: usize,
  columns: i32,
  tableRows: i32,
  half: bool,
): void {
  const bytes = <usize> columns << (half ? 1 : 2);
  for (let r = start; r < end; r++) {
    const id = load<i32>(ids + (<usize> r << 2));
    if (<u32> id >= <u32> tableRows) unreachable();
    memory.copy(y + <usize> r * bytes, table + <usize> id * bytes, bytes);
  }
}

/**
 * Columns [start, end): table[ids[r], j] += x[r, j] for all rows in order. Split by columns, so that a repeated id is
 * never written by two threads and the sums are reproducible. Traps on an id outside [0, tableRows).
 */
export function scatter_add_rows(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  ids: usize,
  table: usize,
  rows: i32,
  columns: i32,
  tableRows: i32,
): void {
  const bytes = <usize> columns << 2;
  for (let r = 0; r < rows; r++) {
    const id = load<i32>(ids + (<usize> r << 2));
    if (<u32> id >= <u32> tableRows) unreachable();
    const from = x + <usize> r * bytes, to = table + <usize> id * bytes;
    let j = start;
    for (; j + 4 <= end; j += 4) {
      const at = <usize> j << 2;
      v128.store(to + at, f32x4.add(v128.load(to + at), v128.load(from + at)));
    }
    for (; j < end; j++) {
      const at = <usize> j << 2;
      store<f32>(to + at, load<f32>(to + at) + load<f32>(from + at));
    }
  }
}

/** The rows of x in one transpose task. */

const STRIP = 32;

/**
 * y[b, j, i] = x[b, i, j]: strips [start, end) of 32 rows of x, ceil(rows / 32) per matrix. Leading dimensions and
 * batch strides are in elements.
 */
export function transpose(
  thread: i32,
  start: i32,
  end: i32,
  rows: i32,
  columns: i32,
  x: usize,
  ldx: usize,
  strideX: usize,
  y: usize,
  ldy: usize,
  strideY: usize,
): void {
  const strips = (rows + STRIP - 1) / STRIP;
  ldx <<= 2;
  ldy <<= 2;
  for (let task = start; task < end; task++) {
    const item = <usize> (task / strips), top = (task % strips) * STRIP;
    const bottom = min(rows, top + STRIP);
    const from = x + (item * strideX << 2), to = y + (item * strideY << 2);
    let j = 0;
    for (; j + 4 <= columns; j += 4) {
      let i = top;
      for (; i + 4 <= bottom; i += 4) {
        const p = from + <usize> i * ldx + (<usize> j << 2);
        const q = to + <usize> j * ldy + (<usize> i << 2);
        const r0 = v128.load(p), r1 = v128.load(p + ldx);
        const r2 = v128.load(p + 2 * ldx), r3 = v128.load(p + 3 * ldx);
        const l01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
        const h01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
        const l23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
        const h23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
        v128.store(q, v128.shuffle<f32>(l01, l23, 0, 1, 4, 5));
        v128.store(q + ldy, v128.shuffle<f32>(l01, l23, 2, 3, 6, 7));
        v128.store(q + 2 * ldy, v128.shuffle<f32>(h01, h23, 0, 1, 4, 5));
        v128.store(q + 3 * ldy, v128.shuffle<f32>(h01, h23, 2, 3, 6, 7));
      }
      for (; i < bottom; i++) {
        const p = from + <usize> i * ldx + (<usize> j << 2);
        const q = to + <usize> j * ldy + (<usize> i << 2);
        store<f32>(q, load<f32>(p));
        store<f32>(q + ldy, load<f32>(p + 4));
        store<f32>(q + 2 * ldy, load<f32>(p + 8));
        store<f32>(q + 3 * ldy, load<f32>(p + 12));
      }
    }
    for (; j < columns; j++) {
      for (let i = top; i < bottom; i++) {
        store<f32>(
          to + <usize> j * ldy + (<usize> i << 2),
          load<f32>(from + <usize> i * ldx + (<usize> j << 2)),
        );
      }
    }
  }
}

/** The offset in bytes of row `row` of [d0, d1, d2] with element strides, which may be negative or 0. */

function stridedRow(
  row: i32,
  d1: i32,
  d2: i32,
  s0: i32,
  s1: i32,
  s2: i32,
  shift: usize,
): usize {
  const i2 = row % d2, rest = row / d2;
  const i1 = rest % d1, i0 = rest / d1;
  return (<usize> i0 * <usize> s0 + <usize> i1 * <usize> s1 + <usize> i2 * <usize> s2) << shift;
}

/** Moves `count` elements of type T, `fromStep` and `toStep` bytes apart. */

function moveRow<T>(from: usize, fromStep: usize, to: usize, toStep: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    store<T>(to, load<T>(from));
    from += fromStep;
    to += toStep;
  }
}

/**
 * Copies a strided view to a contiguous [d0, d1, d2, d3]: rows [start, end) of d0 * d1 * d2. Permutes, slices (x is
 * the address of the first element), broadcasts (stride 0) and reverses (negative stride). Elements have 4 bytes or
 * 2.
 */
export function strided_copy(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  y: usize,
  d1: i32,
  d2: i32,
  d3: i32,
  s0: i32,
  s1: i32,
  s2: i32,
  s3: i32,
  half: bool,
): void {
  const shift: usize = half ? 1 : 2;
  const step = <usize> s3 << shift;
  for (let row = start; row < end; row++) {
    let from = x + stridedRow(row, d1, d2, s0, s1, s2, shift);
    let to = y + (<usize> row * <usize> d3 << shift);
    if (s3 == 1) memory.copy(to, from, <usize> d3 << shift);
    else if (half) moveRow<u16>(from, step, to, 2, d3);
    else moveRow<u32>(from, step, to, 4, d3);
  }
}

/**
 * Copies a contiguous [d0, d1, d2, d3] to a strided view of y: the reverse of {@link strided_copy}. The view must not
 * overlap itself (no stride 0).
 */
export function strided_write(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  y: usize,
  d1: i32,
  d2: i32,
  d3: i32,
  s0: i32,
  s1: i32,
  s2: i32,
  s3: i32,
  half: bool,
): void {
  const shift: usize = half ? 1 : 2;
  const step = <usize> s3 << shift;
  for (let row = start; row < end; row++) {
    const to = y + stridedRow(row, d1, d2, s0, s1, s2, shift);
    const from = x + (<usize> row * <usize> d3 << shift);
    if (s3 == 1) memory.copy(to, from, <usize> d3 << shift);
    else if (half) moveRow<u16>(from, 2, to, step, d3);
    else moveRow<u32>(from, 4, to, step, d3);
  }
}
