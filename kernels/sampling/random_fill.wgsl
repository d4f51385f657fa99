// y = low + (high - low) * uniform, or mean + std * normal. Each invocation makes four.
const NORMAL = false;

// The quantile function of the normal distribution, u in (0, 1) (Giles 2010, "Approximating the erfinv function",
// single precision). It needs no sine or cosine, which GPUs compute coarsely.
fn normal(u: f32) -> f32 {
  let x = 2.0 * u - 1.0;
  var w = -log(4.0 * u * (1.0 - u));
  var p: f32;
  if (w < 5.0) {
    w -= 2.5;
    p = 2.81022636e-08;
    p = 3.43273939e-07 + p * w;
    p = -3.5233877e-06 + p * w;
    p = -4.39150654e-06 + p * w;
    p = 0.00021858087 + p * w;
    p = -0.00125372503 + p * w;
    p = -0.00417768164 + p * w;
    p = 0.246640727 + p * w;
    p = 1.50140941 + p * w;
  } else {
    w = sqrt(w) - 3.0;
    p = -0.000200214257;
    p = 0.000100950558 + p * w;
    p = 0.00134934322 + p * w;
    p = -0.00367342844 + p * w;
    p = 0.00573950773 + p * w;
    p = -0.0076224613 + p * w;
    p = 0.00943887047 + p * w;
    p = 1.00167406 + p * w;
    p = 2.83297682 + p * w;
  }
  return 1.41421356 * p * x;
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let block = id.x + id.y * groups.x * 64u;
  if (block * 4u >= params.count) {
    return;
  }
  let bits = random_block(params.first / 4u + block);
  //#repeat i 0..4
  if (block * 4u + {i}u < params.count) {
    var value: f32;
    if (NORMAL) {
      // The middle of steps of 2^-23: neither 0 nor 1 occurs, and f32 represents u and 1 - u exactly.
      value = normal((f32(bits[{i}] >> 9u) + 0.5) * 0x1p-23f);
    } else {
      value = unit(bits[{i}]);
    }
    y[block * 4u + {i}u] = Y(params.shift + params.scale * value);
  }
  //#end
}
