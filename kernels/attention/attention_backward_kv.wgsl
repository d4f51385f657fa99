// dk and dv: an invocation owns a key and iterates over the queries of all heads that use it, so no sum is shared by
// two invocations. lse (2, batch, heads, queries) comes from attention_backward_q.

// The elements 4 i to 4 i + 3 of the row that begins at `at`; zeros past its end.
//#repeat x of q k v d_o
fn load_{x}(at: u32, i: u32) -> vec4f {
  //#if VECTOR
  return vec4f({x}[at / 4u + i]);
  //#else
  let j = at + 4u * i;
  let value = vec4f(f32({x}[j]), f32({x}[j + 1u]), f32({x}[j + 2u]), f32({x}[j + 3u]));
  return select(vec4f(), value, inside(i));
  //#end
}
//#end

fn store_d_k(at: u32, i: u32, value: vec4f) {
  //#if VECTOR
  d_k[at / 4u + i] = D_K(value);
  //#else
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    d_k[at + 4u * i + c] = D_K(values[c]);
  }
  //#end
}

// Without d_v, one tensor holds both gradients.
fn store_d_v(at: u32, i: u32, value: vec4f) {
  if (!HAS_D_V) {
    store_d_k(at, i, value);
    return;
  }
  //#if VECTOR
  d_v[at / 4u + i] = D_V(value);
  //#else
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    d_v[at + 4u * i + c] = D_V(values[c]);
  }
  //#end
}
