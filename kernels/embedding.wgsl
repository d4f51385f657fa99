// y[r] = table[ids[r]] for the ids within the rows that are bound; an invocation per element, or four
alias T = f32;
alias S = f32; // one element of T
const SHIFT = 0u; // 2 where T is four elements
const POISON = true; // marks rows of ids outside the vocabulary

struct Params {
  rows: u32,
  columns: u32,
  firstRow: u32,
  tableRows: u32,
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<i32>;
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<uniform> params: Params;

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
  let r = i / columns;
  let token = u32(ids[r]);
  if (token - params.firstRow < params.tableRows) {
    y[i] = table[(token - params.firstRow) * columns + i % columns];
  } else if (POISON && token >= params.vocabulary) {
    // The root of a negative number is NaN; one that the compiler knew would not compile.
    y[i] = T(S(sqrt(-1.0 - f32(params.rows))));
  }
}
