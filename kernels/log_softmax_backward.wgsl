// dx = dy - exp(y) * sum(dy) along an axis, y being the log-softmax
alias G = f32; // dy as stored: f32, f16 or four of them
alias Y = f32; // y as stored
alias X = f32; // dx as stored

struct Params {
  outer: u32,
  columns: u32,
  inner: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<G>;
@group(0) @binding(1) var<storage, read> y: array<Y>;
@group(0) @binding(2) var<storage, read_write> dx: array<X>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOf(group.x + group.y * groups.x, local);
  if (row >= params.outer * params.inner) {
    return;
  }
  let lane = laneOf(local);
  let stride = params.inner;
  let first = (row / stride) * (params.columns / WIDTH) * stride + row % stride;
  let end = first + (params.columns / WIDTH) * stride;

  var sums = F(0.0);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    sums += F(dy[i]);
  }
  let sum = sumOfLanes(total(sums), lane);
  for (var i = first + lane * stride; i < end; i += LANES * stride) {
    dx[i] = X(F(dy[i]) - exp(F(y[i])) * sum);
  }
}
