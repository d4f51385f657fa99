// A head of x (batch, time, heads, d) for each invocation: four codes a word, then the scale (see quantised.ts).

fn four(row: u32, i: u32) -> vec4f {
  //#if VECTOR
  return vec4f(x[row * (params.d / 4u) + i]);
  //#else
  var value = vec4f();
  for (var c = 0u; c < 4u && 4u * i + c < params.d; c++) {
    value[c] = f32(x[row * params.d + 4u * i + c]);
  }
  return value;
  //#end
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = id.x + id.y * groups.x * 64u;
  if (row >= params.batch * params.time * params.heads) {
    return;
  }
  let b = row / (params.heads * params.time);
  var place = params.position + row / params.heads % params.time;
  if (HAS_POSITIONS) {
    place += u32(positions[b]);
  }
  // A position past the end would be written into the next sequence.
  if (place >= params.capacity) {
    return;
  }
  let to = ((b * params.capacity + place) * params.heads + row % params.heads) * params.words;
  // Magnitudes in the order of their bits, in which NaN is the largest.
  var bits = vec4u();
  for (var i = 0u; i < params.words - 1u; i++) {
    bits = max(bits, bitcast<vec4u>(four(row, i)) & vec4u(0x7fffffffu));
  }
  let top = max(max(bits.x, bits.y), max(bits.z, bits.w));
  let most = bitcast<f32>(top);
  // The limits are the bits of 1e-30, below which this would be infinite, and of infinity.
  let inverse = select(0.0, 127.0 / most, top > 0x0da24260u && top < 0x7f800000u);
  for (var i = 0u; i < params.words - 1u; i++) {
    let codes = vec4u(vec4i(round(four(row, i) * inverse))) & vec4u(255u);
    y[to + i] = codes.x | (codes.y << 8u) | (codes.z << 16u) | (codes.w << 24u);
  }
  y[to + params.words - 1u] = bitcast<u32>(most / 127.0);
}
