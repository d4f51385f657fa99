// y[b, starts[b] + start + t] = x[b, t]; an invocation per element, or four
alias T = f32;
const SHIFT = 0u; // 2 where T is four elements
const RAGGED = false; // whether starts is given

struct Params {
  batch: u32,
  time: u32,
  width: u32,
  capacity: u32,
  start: u32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> starts: array<i32>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  let width = params.width >> SHIFT;
  let run = params.time * width;
  if (i >= params.batch * run) {
    return;
  }
  let b = i / run;
  var first = params.start;
  if (RAGGED) {
    first += u32(starts[b]);
  }
  // A row past the end would land in the next sequence.
  if (first + (i % run) / width < params.capacity) {
    y[(b * params.capacity + first) * width + i % run] = x[i];
  }
}
