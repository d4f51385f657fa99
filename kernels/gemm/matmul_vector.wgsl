// For few rows: a workgroup computes 4 * COLUMN_LANES columns of one row. Its invocations are arranged along the
// contiguous direction of B, and their sums over k are added up at the end.
const COLUMN_LANES = 16u; // invocations with other columns
const K_LANES = 4u; // invocations with the same columns, each with its part of k; a power of 2

var<workgroup> sums: array<vec4f, COLUMN_LANES * K_LANES>;
//#if HAS_ROW_SUMS
var<workgroup> row_sums_of_lanes: array<f32, K_LANES>;
//#end

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
  //#if HAS_ROW_SUMS
  var row_sum = 0.0;
  //#end
  for (var k = lane * 4u; k < params.k; k += K_LANES * 4u) {
    var x: vec4f;
    if (TRANSPOSE_A) {
      x = tile_a(start.x, row / 4u * 4u, k)[row % 4u];
    } else {
      x = load_a(start.x + row * params.lda + k, params.k - k);
    }
    //#if HAS_ROW_SUMS
    row_sum += dot(x, vec4f(1.0));
    //#end
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
  //#if HAS_ROW_SUMS
  if (index % COLUMN_LANES == 0u) {
    row_sums_of_lanes[lane] = row_sum;
  }
  workgroupBarrier();
  if (group.x == 0u && index == 0u) {
    for (var other = 1u; other < K_LANES; other++) {
      row_sum += row_sums_of_lanes[other];
    }
    store_row_sum(group.z, row, row_sum);
  }
  //#end
  if (lane == 0u) {
    store(start.z, row, column, sum, bias_of(column));
  }
}
