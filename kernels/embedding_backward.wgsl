// table[ids[r]] += x[r], in the order of r; an invocation per element, or four, of the first row of each id
alias X = f32;
alias T = f32;
alias V = f32;
const SHIFT = 0u; // 2 where they are four elements

struct Params {
  rows: u32,
  columns: u32,
  firstRow: u32,
  tableRows: u32,
}

@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> links: array<u32>;
@group(0) @binding(3) var<storage, read_write> table: array<T>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  let columns = params.columns >> SHIFT;
  if (i >= params.rows * columns) {
    return;
  }
  var r = i / columns;
  let row = u32(ids[r]) - params.firstRow;
  if (links[params.rows + r] == 0u || row >= params.tableRows) {
    return;
  }
  let column = i % columns;
  var sum = V();
  while (r < params.rows) {
    sum += V(x[r * columns + column]);
    r = links[r];
  }
  let at = row * columns + column;
  table[at] = T(V(table[at]) + sum);
}
