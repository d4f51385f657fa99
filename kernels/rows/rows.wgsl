// What the row kernels share: access to the elements of a row, one or four at a time. `rows_serial.wgsl` or
// `rows_tree.wgsl` follows, then the kernel (see `rows.ts`).
alias I = u32; // column numbers of the elements of an F: u32 or vec4<u32>
const STEP = I(0u); // column numbers within an F
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

/** 1 for the element in the given column, 0 for the others, of the `i`-th F of a row. */
fn oneHot(i: u32, column: u32) -> F {
  return select(F(0.0), F(1.0), I(i * WIDTH) + STEP == I(column));
}

/**
 * `value`, or NaN if `condition` holds. Set by bits: a driver may assume that no float is NaN, and fold one that is
 * computed or selected.
 */
fn nanIf(value: f32, condition: bool) -> f32 {
  return bitcast<f32>(select(bitcast<u32>(value), 0x7fc00000u, condition));
}

/** As `nanIf`, for the elements of an F. */
fn nansIf(value: F, condition: bool) -> F {
  return bitcast<F>(select(bitcast<I>(value), I(0x7fc00000u), condition));
}
