// dlogits = (softmax - target distribution) * scale * dy, with softmax = exp(x - lse); 0 in ignored rows
alias X = f32; // logits as stored: f32, f16 or four of them
alias G = f32; // dlogits as stored
alias T = i32; // targets

struct Params {
  rows: u32,
  classes: u32,
  ignoreIndex: i32,
  smoothing: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<X>;
@group(0) @binding(1) var<storage, read> targets: array<T>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dLogits: array<G>;
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
  let units = params.classes / WIDTH;
  let first = row * units;
  let chosen = i32(targets[row]);
  let ignored = chosen == params.ignoreIndex;
  let known = chosen >= 0 && u32(chosen) < params.classes;
  let factor = select(notANumber(), scale[0] * dy[0], known);
  let shift = lse[row];
  let hot = 1.0 - params.smoothing;
  let spread = params.smoothing / f32(params.classes);
  for (var i = laneOf(local); i < units; i += LANES) {
    let p = exp(F(logits[first + i]) - shift);
    let d = (p - spread - oneHot(i, u32(chosen)) * hot) * factor;
    dLogits[first + i] = G(select(d, F(0.0), ignored));
  }
}
