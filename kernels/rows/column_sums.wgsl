// d_weight = sum(d_out * (x - mean) * rstd), d_bias = sum(d_out) over the rows. A workgroup computes four columns (or
// vectors of four) and shares their rows. There are no atomics, so the sums are reproducible.
const ROW_LANES = 64u; // invocations that share the rows of a column
const SIZE = 256u; // invocations in a workgroup
const UNITS = 4u; // columns of a workgroup

var<workgroup> all_weights: array<F, SIZE>;
var<workgroup> all_biases: array<F, SIZE>;

var<private> weights: F;
var<private> biases: F;

fn add_row(row: u32, at: u32) {
  let g = F(d_out[at]);
  biases += g;
  if (HAS_D_WEIGHT) {
    var v = F(x[at]);
    if (HAS_MEAN) {
      v -= mean[row];
    }
    weights += g * v * rstd[row];
  }
}

@compute @workgroup_size(SIZE)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let units = params.columns / WIDTH;
  let unit = (group.x + group.y * groups.x) * UNITS + lane % UNITS;
  let first = lane / UNITS;
  if (unit < units) {
    // Four rows at a time, so that their loads overlap.
    var row = first;
    for (; row + 3u * ROW_LANES < params.rows; row += 4u * ROW_LANES) {
      //#repeat i 0..4
      add_row(row + {i}u * ROW_LANES, (row + {i}u * ROW_LANES) * units + unit);
      //#end
    }
    for (; row < params.rows; row += ROW_LANES) {
      add_row(row, row * units + unit);
    }
  }
  all_weights[lane] = weights;
  all_biases[lane] = biases;
  workgroupBarrier();
  for (var span = ROW_LANES / 2u; span > 0u; span /= 2u) {
    if (first < span) {
      all_weights[lane] += all_weights[lane + span * UNITS];
      all_biases[lane] += all_biases[lane + span * UNITS];
    }
    workgroupBarrier();
  }
  if (first > 0u || unit >= units) {
    return;
  }
  if (HAS_D_WEIGHT) {
    var sum = all_weights[lane];
    if (params.add_weight != 0u) {
      sum += F(d_weight[unit]);
    }
    d_weight[unit] = D_WEIGHT(sum);
  }
  if (HAS_D_BIAS) {
    var sum = all_biases[lane];
    if (params.add_bias != 0u) {
      sum += F(d_bias[unit]);
    }
    d_bias[unit] = D_BIAS(sum);
  }
}
