// y[r] = table[ids[r]] for the ids within the bound rows. One invocation per element, or per four.
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
    // NaN by its bits, since a driver may fold a computed one; a constant one would not compile.
    y[i] = Y(S(bitcast<f32>(0x7fc00000u | min(params.rows, 1u))));
  }
}
