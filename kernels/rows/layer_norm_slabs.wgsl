// y = sum of the slabs

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let units = params.columns / WIDTH;
  if (id.x >= units) {
    return;
  }
  var sum = F(0.0);
  for (var slab = 0u; slab < params.slabs; slab++) {
    sum += F(x[slab * units + id.x]);
  }
  y[id.x] = Y(sum);
}
