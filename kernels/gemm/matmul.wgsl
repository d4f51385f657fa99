// What the variants of the matrix product share: C = alpha op(A) op(B) [+ beta C] [+ bias] [+ residual], single or
// batched, and optionally the row sums of op(A), which the workgroups of the first columns compute. matmul.ts appends
// one of matmul_tiled.wgsl, matmul_direct.wgsl, matmul_subgroup.wgsl and others.
const TRANSPOSE_A = false;
const TRANSPOSE_B = false;
const ACTIVATION = 0; // 1: GELU; 2: GELU by tanh; 3: ReLU; 4: squared ReLU
const DERIVATIVE = false;

const QUANTISED = false; // B is codes and scales (see quantised.wgsl)

// 4 elements from `index` on, those from `left` on replaced by zeros (never, if k is a multiple of 4).
fn load_a(index: u32, left: u32) -> vec4f {
  //#if VECTOR
  return vec4f(a[index / 4u]);
  //#else
  let value = vec4f(f32(a[index]), f32(a[index + 1u]), f32(a[index + 2u]), f32(a[index + 3u]));
  return select(vec4f(), value, vec4u(0u, 1u, 2u, 3u) < vec4u(left));
  //#end
}

fn load_b(index: u32, left: u32) -> vec4f {
  //#if QUANTISED
  return select(vec4f(), dequantised(index), vec4u(0u, 1u, 2u, 3u) < vec4u(left));
  //#else
  //#if VECTOR
  return vec4f(b[index / 4u]);
  //#else
  let value = vec4f(f32(b[index]), f32(b[index + 1u]), f32(b[index + 2u]), f32(b[index + 3u]));
  return select(vec4f(), value, vec4u(0u, 1u, 2u, 3u) < vec4u(left));
  //#end
  //#end
}

// 4 rows of op(A) from `row` on, each with 4 elements from `k` on; `start` is the offset of this product's A. Rows
// past the end hold arbitrary values, which are never stored.
fn tile_a(start: u32, row: u32, k: u32) -> mat4x4f {
  let left = params.k - min(k, params.k);
  let step = params.lda;
  if (TRANSPOSE_A) {
    let i = start + k * step + row;
    return transpose(mat4x4f(
      load_a(i, 4u * u32(left > 0u)),
      load_a(i + step, 4u * u32(left > 1u)),
      load_a(i + 2u * step, 4u * u32(left > 2u)),
      load_a(i + 3u * step, 4u * u32(left > 3u)),
    ));
  }
  let i = start + row * step + k;
  return mat4x4f(
    load_a(i, left),
    load_a(i + step, left),
    load_a(i + 2u * step, left),
    load_a(i + 3u * step, left),
  );
}

// 4 rows of op(B) from `k` on, each with 4 columns from `column` on.
fn tile_b(start: u32, k: u32, column: u32) -> mat4x4f {
  let left = params.k - min(k, params.k);
  let step = params.ldb;
  if (TRANSPOSE_B) {
    let i = start + column * step + k;
    return transpose(mat4x4f(
      load_b(i, left),
      load_b(i + step, left),
      load_b(i + 2u * step, left),
      load_b(i + 3u * step, left),
    ));
  }
  let i = start + k * step + column;
  return mat4x4f(
    load_b(i, 4u * u32(left > 0u)),
    load_b(i + step, 4u * u32(left > 1u)),
    load_b(i + 2u * step, 4u * u32(left > 2u)),
    load_b(i + 3u * step, 4u * u32(left > 3u)),
  );
}

// The bias of 4 columns.
fn bias_of(column: u32) -> vec4f {
  if (!HAS_BIAS) {
    return vec4f();
  }
  return vec4f(
    f32(bias[column]),
    f32(bias[column + 1u]),
    f32(bias[column + 2u]),
    f32(bias[column + 3u]),
  );
}

// The offsets of A, B and C for product `batch`.
fn starts(batch: u32) -> vec3u {
  let outer = batch / params.inner;
  let inner = batch % params.inner;
  return vec3u(
    params.a_offset + outer * params.a_outer + inner * params.a_inner,
    params.b_offset + outer * params.b_outer + inner * params.b_inner,
    params.c_offset + outer * params.c_outer + inner * params.c_inner,
  );
}

// The final value of element i of C (in vec4 if F is) for a result.
fn activated(value: F, i: u32) -> F {
  //#if ACTIVATION
  if (DERIVATIVE) {
    let x = F(pre[i]);
    switch (ACTIVATION) {
      case 1: { return value * gelu_erf_slope(x); }
      case 2: { return value * gelu_tanh_slope(x); }
      case 3: { return select(value, F(), x <= F()); }
      default: { return select(2.0 * value * x, F(), x <= F()); }
    }
  }
  if (HAS_PRE) {
    pre[i] = PRE(value);
  }
  switch (ACTIVATION) {
    case 1: { return gelu_erf(value); }
    case 2: { return gelu_tanh(value); }
    case 3: { return select(value, F(), value < F()); }
    default: { return select(value * value, F(), value < F()); }
  }
  //#else
  return value;
  //#end
}

//#if HAS_ROW_SUMS
// Stores the sum of a row of op(A).
fn store_row_sum(batch: u32, row: u32, sum: f32) {
  if (row >= params.m) {
    return;
  }
  let at = batch * params.m + row;
  var value = params.alpha * sum;
  if (params.beta != 0.0) {
    value += params.beta * f32(row_sums[at]);
  }
  row_sums[at] = ROW_SUMS(value);
}

// Stores those of 4 rows from `row` on.
fn store_row_sums(batch: u32, row: u32, sums: vec4f) {
  store_row_sum(batch, row, sums.x);
  store_row_sum(batch, row + 1u, sums.y);
  store_row_sum(batch, row + 2u, sums.z);
  store_row_sum(batch, row + 3u, sums.w);
}
//#end

// Stores 4 columns of a row of C, except those past its end.
fn store(start: u32, row: u32, column: u32, sum: vec4f, add: vec4f) {
  if (row >= params.m || column >= params.n) {
    return;
  }
  let first = start + row * params.ldc + column;
  //#if VECTOR
  var value = params.alpha * sum + add;
  if (HAS_RESIDUAL) {
    value += vec4f(residual[first / 4u]);
  }
  if (params.beta != 0.0) {
    value += params.beta * vec4f(c[first / 4u]);
  }
  c[first / 4u] = C(activated(value, first / 4u));
  //#else
  var values = params.alpha * sum + add;
  for (var j = 0u; j < 4u && column + j < params.n; j++) {
    var value = values[j];
    if (HAS_RESIDUAL) {
      value += f32(residual[first + j]);
    }
    if (params.beta != 0.0) {
      value += params.beta * f32(c[first + j]);
    }
    c[first + j] = C(activated(value, first + j));
  }
  //#end
}
