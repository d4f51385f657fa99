// The polynomial of a Newton-Schulz step, for a batch of matrices
const PER_INVOCATION = 1u; // elements that an invocation updates

@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let elements = params.size * params.size;
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i >= params.matrices * elements) {
      return;
    }
    let unit = select(0.0, params.a, i % elements % (params.size + 1u) == 0u);
    square[i] = unit + params.b * gram[i] + params.c * square[i];
  }
}
