// Copies between a dense and a strided layout. One invocation per element, or per four in a row.
const RANK = 3u;
const SCATTER = false; // x is dense and y strided, instead of the other way round

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count / WIDTH) {
    return;
  }
  let lengths = array<u32, 6>(
    params.d0, params.d1, params.d2, params.d3, params.d4, params.d5,
  );
  let strides = array<i32, 6>(
    params.s0, params.s1, params.s2, params.s3, params.s4, params.s5,
  );
  // Four in a row are contiguous on the strided side, too.
  var rest = i * WIDTH;
  var at = params.base;
  //#repeat axis 0..RANK
  {
    let length = lengths[RANK - 1u - {axis}u];
    let next = rest / length;
    at += i32(rest - next * length) * strides[RANK - 1u - {axis}u];
    rest = next;
  }
  //#end
  let j = u32(at) / WIDTH;
  if (SCATTER) {
    y[j] = x[i];
  } else {
    y[i] = x[j];
  }
}
