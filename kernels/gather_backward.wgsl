// dx[r, ids[r, j]] += dy[r, j] for j from first to end in order; an invocation per row
alias T = f32;

struct Params {
  rows: u32,
  columns: u32, // of dx
  taken: u32, // columns of dy
  first: u32,
  end: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<T>;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read_write> dx: array<T>;
@group(0) @binding(3) var<uniform> params: Params;

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
      dx[r * params.columns + column] += dy[r * params.taken + j];
    }
  }
}
