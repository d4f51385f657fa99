// For few rows: a workgroup computes 4 * COLUMN_LANES columns of one row. Its invocations are arranged along the
// contiguous direction of B, and their sums over k are added up at the end.
const COLUMN_LANES = 16u; // invocations with other columns
const K_LANES = 4u; // invocations with the same columns, each with its part of k; a power of 2

var<workgroup> sums: array<vec4f, COLUMN_LANES * K_LANES>;

@compute @workgroup_size(COLUMN_LANES * K_LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let start = starts(group.z);
  let row = group.y;
  let column = (group.x * COLUMN_LANES + index % COLUMN_LANES) * 4u;
  let lane = index / COLUMN_LANES;
  var sum = vec4f();
  for (var k = lane * 4u; k < params.k; k += K_LANES * 4u) {
    var x: vec4f;
    if (TRANSPOSE_A) {
      x = tile_a(start.x, row / 4u * 4u, k)[row % 4u];
    } else {
      x = load_a(start.x + row * params.lda + k, params.k - k);
    }
    let y = tile_b(start.y, k, column);
    sum += x.x * y[0] + x.y * y[1] + x.z * y[2] + x.w * y[3];
  }
  if (K_LANES > 1u) {
    sums[index] = sum;
    for (var half = K_LANES / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (lane < half) {
        sums[index] += sums[index + half * COLUMN_LANES];
      }
    }
    sum = sums[index];
  }
  if (lane == 0u) {
    store(start.z, row, column, sum, bias_of(column));
  }
}
