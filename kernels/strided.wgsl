// Copies between a dense order and a strided one: an invocation per element (or four, in a row)
alias T = f32;
const RANK = 3u;
const SHIFT = 0u; // 2 where T is four elements
const SCATTER = false; // the dense side is x and y is strided, instead of the other way round
const ADD = false; // adds to y

struct Params {
  count: u32,
  base: i32,
  rank: u32,
  width: u32,
  d0: u32,
  d1: u32,
  d2: u32,
  d3: u32,
  d4: u32,
  d5: u32,
  s0: i32,
  s1: i32,
  s2: i32,
  s3: i32,
  s4: i32,
  s5: i32,
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read_write> y: array<T>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count >> SHIFT) {
    return;
  }
  let lengths = array<u32, 6>(
    params.d0, params.d1, params.d2, params.d3, params.d4, params.d5,
  );
  let strides = array<i32, 6>(
    params.s0, params.s1, params.s2, params.s3, params.s4, params.s5,
  );
  // Four in a row lie side by side on the strided side too.
  var rest = i << SHIFT;
  var at = params.base;
  //#repeat axis 0..RANK
  {
    let length = lengths[RANK - 1u - {axis}u];
    let next = rest / length;
    at += i32(rest - next * length) * strides[RANK - 1u - {axis}u];
    rest = next;
  }
  //#end
  let j = u32(at) >> SHIFT;
  if (SCATTER) {
    if (ADD) {
      y[j] += x[i];
    } else {
      y[j] = x[i];
    }
  } else {
    y[i] = x[j];
  }
}
