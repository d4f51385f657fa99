// o = softmax(scale q k^T + mask) v without the T x T matrix (FlashAttention-2, Dao 2023): the maximum and the sum of
// exponentials of a row are kept up to date while the keys pass by.
@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> v: array<Element>;
@group(0) @binding(3) var<storage, read> key_valid: array<V>;
@group(0) @binding(4) var<storage, read> pasts: array<i32>;
@group(0) @binding(5) var<storage, read_write> o: array<Element>;
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

const POSITIONED = false; // sequences have their own `past`

// The position of query 0 of a sequence.
fn first_position(b: u32) -> i32 {
  return select(params.past, pasts[b], POSITIONED);
}

//#repeat on 0..VECTOR
fn load_q(at: u32, i: u32) -> vec4f {
  return vec4f(q[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_q(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(q[j]), f32(q[j + 1u]), f32(q[j + 2u]), f32(q[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn load_k(at: u32, i: u32) -> vec4f {
  return vec4f(k[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_k(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(k[j]), f32(k[j + 1u]), f32(k[j + 2u]), f32(k[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn load_v(at: u32, i: u32) -> vec4f {
  return vec4f(v[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_v(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(v[j]), f32(v[j + 1u]), f32(v[j + 2u]), f32(v[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn store_o(at: u32, i: u32, value: vec4f) {
  o[at / 4u + i] = vec4<T>(value);
}
//#end
//#repeat on 0..SCALAR
fn store_o(at: u32, i: u32, value: vec4f) {
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    o[at + 4u * i + c] = T(values[c]);
  }
}
//#end
