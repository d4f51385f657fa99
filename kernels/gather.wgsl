// y[r, j] = x[r, ids[r, j]]; an id outside a row gives 0
alias T = f32;

struct Params {
  count: u32, // elements of y
  columns: u32, // of x
  taken: u32, // columns of y
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<uniform> params: Params;

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
  var value = T(0);
  if (column < params.columns) {
    value = x[i / params.taken * params.columns + column];
  }
  y[i] = value;
}
