// Counts a step of Adam and computes its bias corrections, unless the step is refused

// 1 - exp(x) for x <= 0, by a series where the difference would cancel.
fn one_minus_exp(x: f32) -> f32 {
  if (x < -0.5) {
    return 1.0 - exp(x);
  }
  var sum = 0.0;
  for (var n = 9.0; n > 1.0; n -= 1.0) {
    sum = x / n * (1.0 + sum);
  }
  return -x * (1.0 + sum);
}

@compute @workgroup_size(1)
fn main() {
  if (grad_scale[0] == 0.0) {
    return;
  }
  let done = step[0] + 1.0;
  step[0] = done;
  correction[0] = one_minus_exp(done * params.log_beta1);
  correction[1] = one_minus_exp(done * params.log_beta2);
}
