// dq, and delta = sum(o do) of every row for attention_backward_kv. The weights are recomputed from lse (2, batch,
// heads, queries), whose first half holds the logs of the sums and whose second half receives delta.

// The elements 4 i to 4 i + 3 of the row that begins at `at`; zeros past its end.
//#repeat x of q k v o d_o
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

//#repeat x of d_q
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
