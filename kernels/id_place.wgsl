// Puts every position into its id's part of the list, in any order; counts falls to 0
struct Params {
  count: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<i32>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> list: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i < params.count && u32(ids[i]) < params.vocabulary) {
    let v = u32(ids[i]);
    list[starts[v] + atomicSub(&counts[v], 1u) - 1u] = i;
  }
}
