// One AdamW update, elementwise: decay, moving averages, step
alias V = f32; // four elements at once where the count allows
alias G = f32; // the same of the gradient's type
alias H = f32; // the same of the half-precision copy's type
const WIDTH = 1u; // elements of a vector
const PER_INVOCATION = 1u; // vectors that an invocation updates
const WRITES_COPY = false;

struct Params {
  count: u32, // elements
  lr: f32,
  beta1: f32,
  beta2: f32,
  rest1: f32,
  rest2: f32,
  eps: f32,
  weight_decay: f32,
}

@group(0) @binding(0) var<storage, read_write> p: array<V>;
@group(0) @binding(1) var<storage, read> g: array<G>;
@group(0) @binding(2) var<storage, read_write> m: array<V>;
@group(0) @binding(3) var<storage, read_write> v: array<V>;
@group(0) @binding(4) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(5) var<storage, read> correction: array<f32>;
@group(0) @binding(6) var<storage, read_write> p_copy: array<H>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let scale = grad_scale[0];
  if (scale == 0.0) {
    return; // the gradient is not finite
  }
  let step = params.lr / correction[0];
  let root = inverseSqrt(correction[1]);
  let decay = params.lr * params.weight_decay;
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i * WIDTH >= params.count) {
      return;
    }
    let gradient = V(g[i]) * scale;
    let mean = params.beta1 * m[i] + params.rest1 * gradient;
    let square = params.beta2 * v[i] + params.rest2 * gradient * gradient;
    let old = p[i];
    let next = old - decay * old - step * mean / (sqrt(square) * root + params.eps);
    m[i] = mean;
    v[i] = square;
    p[i] = next;
    if (WRITES_COPY) {
      p_copy[i] = H(next);
    }
  }
}
