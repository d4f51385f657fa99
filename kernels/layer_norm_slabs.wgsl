// y = sum of the slabs
alias X = f32; // the slabs as stored: f32 or four of them
alias Y = f32; // y as stored: f32, f16 or four of them

struct Params {
  slabs: u32,
  columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<X>;
@group(0) @binding(1) var<storage, read_write> y: array<Y>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let units = params.columns / WIDTH;
  if (id.x >= units) {
    return;
  }
  var sum = F(0.0);
  for (var slab = 0u; slab < params.slabs; slab++) {
    sum += F(x[slab * units + id.x]);
  }
  y[id.x] = Y(sum);
}
