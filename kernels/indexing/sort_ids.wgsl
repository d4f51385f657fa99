// The place of each id within its sorted block: the number of ids that come before it.
const BLOCK = 1024u;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count) {
    return;
  }
  let own = u32(ids[i]);
  let first = i / BLOCK * BLOCK;
  let end = min(first + BLOCK, params.count);
  var place = first;
  for (var j = first; j < end; j++) {
    let other = u32(ids[j]);
    place += u32(other < own || (other == own && j < i));
  }
  sorted[place] = own;
  sorted[params.count + place] = i;
}
