// y = x / sqrt(mean(x^2) + eps) * weight of each row (Zhang and Sennrich, 2019); keeps rstd, the factor
alias X = f32; // x as stored: f32, f16 or four of them
alias W = f32; // weight as stored
alias Y = f32; // y as stored
const HAS_WEIGHT = true;
const KEEP = true; // whether rstd is wanted

struct Params {
  rows: u32,
  columns: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read> weight: array<W>;
@group(0) @binding(2) var<storage, read_write> y: array<Y>;
@group(0) @binding(3) var<storage, read_write> rstd: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

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

  var squares = F(0.0);
  for (var i = lane; i < units; i += LANES) {
    let v = F(x[first + i]);
    squares += v * v;
  }
  let meanSquare = sumOfLanes(total(squares), lane) / f32(params.columns);
  let scale = inverseSqrt(meanSquare + params.eps);
  for (var i = lane; i < units; i += LANES) {
    var v = F(x[first + i]) * scale;
    if (HAS_WEIGHT) {
      v *= F(weight[i]);
    }
    y[first + i] = Y(v);
  }
  if (KEEP && lane == 0u) {
    rstd[row] = scale;
  }
}
