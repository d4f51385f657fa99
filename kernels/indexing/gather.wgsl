// y[r, j] = x[r, ids[r, j]]; an id outside a row gives 0

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count) {
    return;
  }
  let column = u32(ids[i]);
  var value = Y(0);
  if (column < params.columns) {
    value = x[i / params.taken * params.columns + column];
  }
  y[i] = value;
}
