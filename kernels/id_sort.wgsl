// Brings each id's part of the list into ascending order: a position's rank is how many smaller ones there are
struct Params {
  count: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<i32>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> list: array<u32>;
@group(0) @binding(3) var<storage, read_write> order: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let k = id.x + id.y * groups.x * 64u;
  // What lies past the last part belongs to ids outside the vocabulary.
  if (k >= params.count || k >= starts[params.vocabulary]) {
    return;
  }
  let position = list[k];
  let v = u32(ids[position]);
  let first = starts[v];
  let end = starts[v + 1u];
  var rank = 0u;
  for (var j = first; j < end; j++) {
    rank += select(0u, 1u, list[j] < position);
  }
  order[first + rank] = position;
}
