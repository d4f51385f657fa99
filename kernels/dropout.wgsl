// y = x / (1 - p) where the element's random number is at least p, else 0.
alias T = f32;

struct Params {
  count: u32,
  seed_low: u32,
  seed_high: u32,
  block_low: u32,
  block_high: u32,
  first: u32,
  p: f32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> params: Params;

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
  let scale = 1.0 / (1.0 - params.p);
  //#repeat i 0..4
  if (block * 4u + {i}u < params.count) {
    y[block * 4u + {i}u] = select(T(0), T(f32(x[block * 4u + {i}u]) * scale), unit(bits[{i}]) >= params.p);
  }
  //#end
}
