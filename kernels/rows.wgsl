// What the row kernels share: the elements of a row one by one, or four at a time.
// `rows_serial.wgsl` or `rows_tree.wgsl` follows, then the kernel (see `rows.ts`).
alias F = f32; // what is computed with: f32 or vec4<f32>
const VECTOR = false; // whether F is vec4<f32>
const WIDTH = select(1u, 4u, VECTOR); // elements in an F
const LOWEST = -3.4028234e38; // below every finite number

/** The sum of the elements of `v`. */
fn total(v: F) -> f32 {
  let w = vec4<f32>(v);
  if (VECTOR) {
    return (w.x + w.y) + (w.z + w.w);
  }
  return w.x;
}

/** The largest element of `v`. */
fn largest(v: F) -> f32 {
  let w = vec4<f32>(v);
  return max(max(w.x, w.y), max(w.z, w.w));
}
