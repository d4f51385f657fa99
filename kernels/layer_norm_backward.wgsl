// With g = dy * weight and h = (x - mean) * rstd: dx = rstd * (g - mean(g) - h * mean(g * h)).
// Without a mean it is the gradient of the RMS norm: h = x * rstd, dx = rstd * (g - h * mean(g * h)).
alias G = f32; // dy as stored: f32, f16 or four of them
alias X = f32; // x as stored
alias W = f32; // weight as stored
alias D = f32; // dx as stored
const HAS_WEIGHT = true;
const HAS_MEAN = true;

struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<G>;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> weight: array<W>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<D>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOf(group.x + group.y * groups.x, local);
  if (row >= params.rows) {
    return;
  }
  let lane = laneOf(local);
  let units = params.columns / WIDTH;
  let first = row * units;
  let each = 1.0 / f32(params.columns);
  let scale = rstd[row];
  var center = 0.0;
  if (HAS_MEAN) {
    center = mean[row];
  }

  var sum = F(0.0);
  var products = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    var g = F(dy[first + i]);
    if (HAS_WEIGHT) {
      g *= F(weight[i]);
    }
    sum += g;
    products += g * (F(x[first + i]) - center);
  }
  var a = 0.0;
  if (HAS_MEAN) {
    a = sumOfLanes(total(sum), lane) * each;
  }
  let b = sumOfLanes(total(products), lane) * each * scale;
  for (var i = lane; i < units; i += LANES) {
    var g = F(dy[first + i]);
    if (HAS_WEIGHT) {
      g *= F(weight[i]);
    }
    dx[first + i] = D((g - a - (F(x[first + i]) - center) * scale * b) * scale);
  }
}
