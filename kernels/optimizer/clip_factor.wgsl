// The norm from sums of squares, and the factor of the gradients
const SIZE = 64u; // invocations

var<workgroup> sums: array<f32, SIZE>;

@compute @workgroup_size(SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < params.count; i += SIZE) {
    sum += partials[i];
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var span = SIZE / 2u; span > 0u; span /= 2u) {
    if (lane < span) {
      sums[lane] += sums[lane + span];
    }
    workgroupBarrier();
  }
  if (lane > 0u) {
    return;
  }
  let unscale = select(1.0, 1.0 / loss_scale[0], params.scaled != 0u);
  let total = sums[0];
  let length = sqrt(total) * unscale;
  norm[0] = length;
  // By its bits, since a shader may assume that no value is NaN or infinite.
  let finite = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
  let clip = params.max_norm > 0.0 && length > params.max_norm;
  let kept = select(1.0, params.max_norm / length, clip) * unscale;
  factor[0] = select(0.0, kept, finite);
}
