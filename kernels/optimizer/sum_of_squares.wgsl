// partials[first + block] = the sum of the squares of a block of x
const SIZE = 64u; // invocations
const BLOCK = 4096u; // elements of a block

var<workgroup> sums: array<f32, SIZE>;

@compute @workgroup_size(SIZE)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let block = group.x + group.y * groups.x;
  let start = block * (BLOCK / WIDTH);
  let end = min(start + BLOCK / WIDTH, params.count / WIDTH);
  var sum = F(0.0);
  for (var i = start + lane; i < end; i += SIZE) {
    let value = F(x[i]);
    sum += value * value;
  }
  // The dot product adds the components of a vector; a scalar becomes four quarters of itself.
  sums[lane] = dot(vec4f(sum), vec4f(f32(WIDTH) / 4.0));
  workgroupBarrier();
  for (var span = SIZE / 2u; span > 0u; span /= 2u) {
    if (lane < span) {
      sums[lane] += sums[lane + span];
    }
    workgroupBarrier();
  }
  if (lane == 0u && block * BLOCK < params.count) {
    partials[params.first + block] = sums[0];
  }
}
