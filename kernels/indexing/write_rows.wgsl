// y[b, positions[b] + position + t] = x[b, t]. One invocation per element, or per four.

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  let width = params.width / WIDTH;
  let run = params.time * width;
  if (i >= params.batch * run) {
    return;
  }
  let b = i / run;
  var first = params.position;
  if (HAS_POSITIONS) {
    first += u32(positions[b]);
  }
  // A row past the end would be written into the next sequence.
  if (first + (i % run) / width < params.capacity) {
    y[(b * params.capacity + first) * width + i % run] = Y(x[i]);
  }
}
