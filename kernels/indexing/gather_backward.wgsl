// d_x[r, ids[r, j]] += d_out[r, j] for j from first to end, in order. One invocation per row.

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let r = id.x + id.y * groups.x * 64u;
  if (r >= params.rows) {
    return;
  }
  for (var j = params.first; j < params.end; j++) {
    let column = u32(ids[r * params.taken + j]);
    if (column < params.columns) {
      d_x[r * params.columns + column] += d_out[r * params.taken + j];
    }
  }
}
