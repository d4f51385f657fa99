// dq, and delta = sum(o do) of every row for attention_backward_kv: weights are computed again from the saved logs of
// sums, stats (2, batch, heads, queries), which holds those in its first half and delta in its second.
@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> v: array<Element>;
@group(0) @binding(3) var<storage, read> o: array<Element>;
@group(0) @binding(4) var<storage, read> grad_o: array<Element>;
@group(0) @binding(5) var<storage, read> key_valid: array<V>;
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad_q: array<Element>;
@group(0) @binding(8) var<uniform> params: Params;

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
fn load_o(at: u32, i: u32) -> vec4f {
  return vec4f(o[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_o(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(o[j]), f32(o[j + 1u]), f32(o[j + 2u]), f32(o[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn load_grad_o(at: u32, i: u32) -> vec4f {
  return vec4f(grad_o[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_grad_o(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(grad_o[j]), f32(grad_o[j + 1u]), f32(grad_o[j + 2u]), f32(grad_o[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn store_grad_q(at: u32, i: u32, value: vec4f) {
  grad_q[at / 4u + i] = vec4<T>(value);
}
//#end
//#repeat on 0..SCALAR
fn store_grad_q(at: u32, i: u32, value: vec4f) {
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    grad_q[at + 4u * i + c] = T(values[c]);
  }
}
//#end
