// For every id the place of the next equal one, or the end, and whether it is the first of its kind.

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count) {
    return;
  }
  let own = ids[i];
  var next = i + 1u;
  while (next < params.count && ids[next] != own) {
    next++;
  }
  var before = 0u;
  while (before < i && ids[before] != own) {
    before++;
  }
  links[i] = next;
  links[params.count + i] = select(0u, 1u, before == i);
}
