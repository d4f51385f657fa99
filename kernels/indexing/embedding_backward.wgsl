// table[ids[r]] += x[r], in the order of r; an invocation per element, or four, of the first row of each id

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
  var r = i / columns;
  let row = u32(ids[r]) - params.first_row;
  if (links[params.rows + r] == 0u || row >= params.table_rows) {
    return;
  }
  let column = i % columns;
  var sum = F();
  while (r < params.rows) {
    sum += F(x[r * columns + column]);
    r = links[r];
  }
  let at = row * columns + column;
  table[at] = TABLE(F(table[at]) + sum);
}
