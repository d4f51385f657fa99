// For few rows: a workgroup computes 4 * COLUMN_LANES columns of one row. Its invocations are arranged along the
// contiguous direction of B, and their sums over k are added up at the end.
const COLUMN_LANES = 16u; // invocations with other columns
const DOTS = false; // whether B is quantised and multiplied as integers
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
  //#if DOTS
  // 32 elements of the row at a time become integers of 16 bits with a scale. Their high and low bytes are multiplied
  // with the codes of each column.
  for (var block = lane; block < params.k / 32u; block += K_LANES) {
    let at = start.x + row * params.lda + 32u * block;
    var bits = vec4u();
    //#repeat i 0..8
    let x{i} = load_a(at + {4*i}u, 4u);
    bits = max(bits, bitcast<vec4u>(x{i}) & vec4u(0x7fffffffu)); // magnitudes; NaN is the largest
    //#end
    let top = max(max(bits.x, bits.y), max(bits.z, bits.w));
    let most = bitcast<f32>(top);
    // Not where it would be infinite: the limits are the bits of 1e-30 and of infinity.
    let inverse = select(0.0, 32639.0 / most, top > 0x0da24260u && top < 0x7f800000u);
    //#repeat i 0..8
    let rounded{i} = vec4i(round(x{i} * inverse));
    let over{i} = (rounded{i} + 128) >> vec4u(8u);
    let high{i} = pack4xI8(over{i});
    let low{i} = pack4xI8(rounded{i} - over{i} * 256);
    //#end
    //#repeat c 0..4
    {
      let own = (start.y + (column + {c}u) * params.ldb) / 32u + block;
      var high = 0;
      var low = 0;
      //#repeat i 0..8
      {
        let w = codes_of(own, {i}u);
        high += dot4I8Packed(high{i}, w);
        low += dot4I8Packed(low{i}, w);
      }
      //#end
      sum[{c}] += most / 32639.0 * scale_of(own) * f32(high * 256 + low);
    }
    //#end
  }
  //#else
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
  //#end
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
