// y[r] = table[ids[r]] for the ids within the rows that are bound; an invocation per element, or four
alias S = f32; // one element of T
const POISON = true; // marks rows of ids outside the vocabulary

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  let columns = params.columns / WIDTH;
  if (i >= params.rows * columns) {
    return;
  }
  let r = i / columns;
  let token = u32(ids[r]);
  if (token - params.first_row < params.table_rows) {
    y[i] = table[(token - params.first_row) * columns + i % columns];
  } else if (POISON && token >= params.vocabulary) {
    // The root of a negative number is NaN; one that the compiler knew would not compile.
    y[i] = Y(S(sqrt(-1.0 - f32(params.rows))));
  }
}
