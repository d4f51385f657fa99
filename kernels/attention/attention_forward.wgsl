// o = softmax(scale q k^T + mask) v without the T x T matrix (FlashAttention-2, Dao 2023): the maximum and the sum of
// exponentials of a row are updated while iterating over the keys.

// Keys and values may be int8: a row has four codes a word, and then the scale.
const FLOATS_q = true;
const FLOATS_k = true;
const FLOATS_v = true;

// The position of query 0 of a sequence.
fn first_position(b: u32) -> i32 {
  return select(params.position, positions[b], HAS_POSITIONS);
}

// The elements 4 i to 4 i + 3 of the row that begins at `at`; zeros past its end.
//#repeat x of q k v
//#if FLOATS_{x}
fn load_{x}(at: u32, i: u32) -> vec4f {
  //#if VECTOR
  return vec4f({x}[at / 4u + i]);
  //#else
  let j = at + 4u * i;
  let value = vec4f(f32({x}[j]), f32({x}[j + 1u]), f32({x}[j + 2u]), f32({x}[j + 3u]));
  return select(vec4f(), value, inside(i));
  //#end
}
//#else
fn load_{x}(at: u32, i: u32) -> vec4f {
  let codes = vec4i(bitcast<i32>({x}[at + i]));
  return bitcast<f32>({x}[at + u32(D4)]) * vec4f((codes << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}
//#end
//#end

//#repeat x of o
fn store_{x}(at: u32, i: u32, value: vec4f) {
  //#if VECTOR
  {x}[at / 4u + i] = Q(value);
  //#else
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    {x}[at + 4u * i + c] = Q(values[c]);
  }
  //#end
}
//#end
