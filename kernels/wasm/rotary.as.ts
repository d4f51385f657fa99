// Rotary position embedding: rotates the pairs of a head's elements by the angles of their position (Su et al.,
// 2021).

/**
 * Rows [start, end), the heads of (batch, length, heads, width): y = x with its first `turned` elements rotated.
 * `turns` (tableRows, width) holds the cosine of pair i in column 2 i and its sine in column 2 i + 1. A row's
 * position is its time step plus `position`, or plus its sequence's element of `positions` (int32) if that is not 0.
 * `direction` is 1, or -1 to rotate back.
 */
export function rotary(
  thread: i32,
  start: i32,
  end: i32,
  x: usize,
  turns: usize,
  positions: usize,
  y: usize,
  firstRow: i32,
  length: i32,
  heads: i32,
  width: i32,
  turned: i32,
  position: i32,
  direction: f32,
  halfSplit: bool,
): void {
  const rowBytes = <usize> width << 2, bytes = <usize> turned << 2, half = bytes >> 1;
  const d = f32x4.splat(direction);
  // The signs of the sine for alternating elements of pairs: a cos - b sin, b cos + a sin.
  const signs = f32x4(-direction, direction, -direction, direction);
  for (let r = start; r < end; r++) {
    const step = (firstRow + r) / heads, sequence = step / length;
    const from = positions ? load<i32>(positions + (<usize> sequence << 2)) : position;
    const t = turns + <usize> (from + step - sequence * length) * rowBytes;
    const xRow = x + <usize> r * rowBytes, yRow = y + <usize> r * rowBytes;
    if (rowBytes > bytes) memory.copy(yRow + bytes, xRow + bytes, rowBytes - bytes);
    if (halfSplit) {
      let at: usize = 0;
      for (; at + 16 <= half; at += 16) {
        const u = v128.load(t + 2 * at), v = v128.load(t + 2 * at, 16);
        const cos = v128.shuffle<f32>(u, v, 0, 2, 4, 6);
        const sin = f32x4.mul(v128.shuffle<f32>(u, v, 1, 3, 5, 7), d);
        const a = v128.load(xRow + at), b = v128.load(xRow + half + at);
        v128.store(yRow + at, f32x4.sub(f32x4.mul(a, cos), f32x4.mul(b, sin)));
        v128.store(yRow + half + at, f32x4.add(f32x4.mul(a, sin), f32x4.mul(b, cos)));
      }
      for (; at < half; at += 4) turn(xRow + at, half, yRow + at, t + 2 * at, direction);
    } else {
      let at: usize = 0;
      for (; at + 16 <= bytes; at += 16) {
        const u = v128.load(t + at), v = v128.load(xRow + at);
        const cos = v128.shuffle<f32>(u, u, 0, 0, 2, 2);
        const sin = f32x4.mul(v128.shuffle<f32>(u, u, 1, 1, 3, 3), signs);
        const crossed = v128.shuffle<f32>(v, v, 1, 0, 3, 2);
        v128.store(yRow + at, f32x4.add(f32x4.mul(v, cos), f32x4.mul(crossed, sin)));
      }
      for (; at < bytes; at += 8) turn(xRow + at, 4, yRow + at, t + at, direction);
    }
  }
}

/** One pair; its second element is `apart` bytes after the first. */

function turn(x: usize, apart: usize, y: usize, t: usize, direction: f32): void {
  const cos = load<f32>(t), sin = load<f32>(t, 4) * direction;
  const a = load<f32>(x), b = load<f32>(x + apart);
  store<f32>(y, a * cos - b * sin);
  store<f32>(y + apart, a * sin + b * cos);
}
