// One step of gradient descent, elementwise
alias V = f32; // four elements at once where the count allows
alias G = f32; // the same of the gradient's type
alias H = f32; // the same of the half-precision copy's type
const WIDTH = 1u; // elements of a vector
const PER_INVOCATION = 1u; // vectors that an invocation updates
const HAS_MOMENTUM = false;
const NESTEROV = false;
const WRITES_COPY = false;

struct Params {
  count: u32, // elements
  lr: f32,
  momentum: f32,
  weight_decay: f32,
  nesterov: u32,
}

@group(0) @binding(0) var<storage, read_write> p: array<V>;
@group(0) @binding(1) var<storage, read> g: array<G>;
@group(0) @binding(2) var<storage, read_write> velocity: array<V>;
@group(0) @binding(3) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> p_copy: array<H>;
@group(0) @binding(5) var<uniform> params: Params;

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
  let first = (group.x + group.y * groups.x) * 64u * PER_INVOCATION + lane;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = first + k * 64u;
    if (i * WIDTH >= params.count) {
      return;
    }
    let old = p[i];
    var step = V(g[i]) * scale + params.weight_decay * old;
    if (HAS_MOMENTUM) {
      let moving = params.momentum * velocity[i] + step;
      velocity[i] = moving;
      if (NESTEROV) {
        step += params.momentum * moving;
      } else {
        step = moving;
      }
    }
    let next = old - params.lr * step;
    p[i] = next;
    if (WRITES_COPY) {
      p_copy[i] = H(next);
    }
  }
}
