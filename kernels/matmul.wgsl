// What the variants of the matrix product share: C = alpha op(A) op(B) [+ beta C] [+ bias], once or for a batch.
// matmul.ts puts one of matmul_tiled.wgsl, matmul_direct.wgsl and matmul_subgroup.wgsl behind this part.
alias A = f32;
alias B = f32;
alias C = f32;
alias D = f32; // of bias
const TRANS_A = false;
const TRANS_B = false;
const BIAS = false;
const VECTOR = 1; // 1: k, n, rows and offsets are multiples of 4 elements, and loads take 4 at once
const SCALAR = 0; // 1 - VECTOR

struct Params {
  m: u32,
  n: u32,
  k: u32,
  lda: u32,
  ldb: u32,
  ldc: u32,
  a_offset: u32,
  b_offset: u32,
  c_offset: u32,
  batches: u32,
  inner: u32,
  a_outer: u32,
  a_inner: u32,
  b_outer: u32,
  b_inner: u32,
  c_outer: u32,
  c_inner: u32,
  trans_a: u32,
  trans_b: u32,
  alpha: f32,
  beta: f32,
}

//#repeat on 0..VECTOR
@group(0) @binding(0) var<storage, read> a: array<vec4<A>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<B>>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4<C>>;
//#end
//#repeat on 0..SCALAR
@group(0) @binding(0) var<storage, read> a: array<A>;
@group(0) @binding(1) var<storage, read> b: array<B>;
@group(0) @binding(2) var<storage, read_write> c: array<C>;
//#end
@group(0) @binding(3) var<storage, read> bias: array<D>;
@group(0) @binding(4) var<uniform> params: Params;

// 4 elements from `index` on, those from `left` on replaced by zeros (where k is a multiple of 4 none are).
//#repeat on 0..VECTOR
fn load_a(index: u32, left: u32) -> vec4f {
  return vec4f(a[index / 4u]);
}

fn load_b(index: u32, left: u32) -> vec4f {
  return vec4f(b[index / 4u]);
}
//#end
//#repeat on 0..SCALAR
fn load_a(index: u32, left: u32) -> vec4f {
  let value = vec4f(f32(a[index]), f32(a[index + 1u]), f32(a[index + 2u]), f32(a[index + 3u]));
  return select(vec4f(), value, vec4u(0u, 1u, 2u, 3u) < vec4u(left));
}

fn load_b(index: u32, left: u32) -> vec4f {
  let value = vec4f(f32(b[index]), f32(b[index + 1u]), f32(b[index + 2u]), f32(b[index + 3u]));
  return select(vec4f(), value, vec4u(0u, 1u, 2u, 3u) < vec4u(left));
}
//#end

// 4 rows of op(A) from `row` on, each with 4 elements from `k` on; `start` is where this product's A begins.
// Rows past the end hold anything: they are never stored.
fn tile_a(start: u32, row: u32, k: u32) -> mat4x4f {
  let left = params.k - min(k, params.k);
  let step = params.lda;
  if (TRANS_A) {
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
  if (TRANS_B) {
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

// What is added to 4 columns of every row.
fn bias_of(column: u32) -> vec4f {
  if (!BIAS) {
    return vec4f();
  }
  return vec4f(
    f32(bias[column]),
    f32(bias[column + 1u]),
    f32(bias[column + 2u]),
    f32(bias[column + 3u]),
  );
}

// Where the matrices of product `batch` begin in A, B and C.
fn starts(batch: u32) -> vec3u {
  let outer = batch / params.inner;
  let inner = batch % params.inner;
  return vec3u(
    params.a_offset + outer * params.a_outer + inner * params.a_inner,
    params.b_offset + outer * params.b_outer + inner * params.b_inner,
    params.c_offset + outer * params.c_outer + inner * params.c_inner,
  );
}

// Stores 4 columns of a row of C, as far as it has them.
//#repeat on 0..VECTOR
fn store(start: u32, row: u32, column: u32, sum: vec4f, add: vec4f) {
  if (row < params.m && column < params.n) {
    let i = (start + row * params.ldc + column) / 4u;
    var value = params.alpha * sum + add;
    if (params.beta != 0.0) {
      value += params.beta * vec4f(c[i]);
    }
    c[i] = vec4<C>(value);
  }
}
//#end
//#repeat on 0..SCALAR
fn store(start: u32, row: u32, column: u32, sum: vec4f, add: vec4f) {
  if (row < params.m) {
    var values = params.alpha * sum + add;
    for (var j = 0u; j < 4u && column + j < params.n; j++) {
      let i = start + row * params.ldc + column + j;
      var value = values[j];
      if (params.beta != 0.0) {
        value += params.beta * f32(c[i]);
      }
      c[i] = C(value);
    }
  }
}
//#end
