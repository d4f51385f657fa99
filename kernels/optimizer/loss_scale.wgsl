// Lowers the loss scale after a refused step, raises it after many good ones

const SMALLEST = 1.0;
const LARGEST = 16777216.0;

@compute @workgroup_size(1)
fn main() {
  if (HAS_HALTED && halted[0] != 0.0) {
    return;
  }
  let good = good_steps[0] + 1.0;
  if (grad_scale[0] == 0.0) {
    loss_scale[0] = max(loss_scale[0] * params.backoff, SMALLEST);
    good_steps[0] = 0.0;
  } else if (good >= params.interval) {
    loss_scale[0] = min(loss_scale[0] * params.growth, LARGEST);
    good_steps[0] = 0.0;
  } else {
    good_steps[0] = good;
  }
}
