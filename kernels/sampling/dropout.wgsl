// y = x / (1 - p) where the element's random number is at least p, otherwise 0.

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
    y[block * 4u + {i}u] = select(Y(0), Y(f32(x[block * 4u + {i}u]) * scale), unit(bits[{i}]) >= params.p);
  }
  //#end
}
