// Lowers the loss scale after a refused step, raises it after many good ones

struct Params {
  growth: f32,
  backoff: f32,
  interval: f32,
}

@group(0) @binding(0) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss_scale: array<f32>;
@group(0) @binding(2) var<storage, read_write> good_steps: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const SMALLEST = 1.0;
const LARGEST = 16777216.0;

@compute @workgroup_size(1)
fn main() {
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
