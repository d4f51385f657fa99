// c = sum of the partial products [+ beta c] [+ bias] [+ residual]. One invocation per element, or per four of a row;
// then one per row sum.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * 64u + lane;
  let width = params.n / WIDTH;
  if (i >= params.m * width) {
    if (HAS_ROW_SUMS) {
      add_row_sum(i - params.m * width);
    }
    return;
  }
  var sum = F();
  for (var p = 0u; p < params.parts; p++) {
    sum += partials[p * params.m * width + i];
  }
  if (HAS_BIAS) {
    sum += F(bias[i % width]);
  }
  if (HAS_RESIDUAL) {
    sum += F(residual[i]);
  }
  if (params.beta != 0.0) {
    sum += params.beta * F(c[i]);
  }
  c[i] = C(sum);
}

fn add_row_sum(row: u32) {
  if (row >= params.m) {
    return;
  }
  var sum = 0.0;
  for (var p = 0u; p < params.parts; p++) {
    sum += partial_row_sums[p * params.m + row];
  }
  if (params.beta != 0.0) {
    sum += params.beta * f32(row_sums[row]);
  }
  row_sums[row] = ROW_SUMS(sum);
}
