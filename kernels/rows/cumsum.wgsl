// y[o, k, c] = x[o, 0, c] + ... + x[o, k, c], or from the end. One workgroup per row; each lane sums a run of it.
alias C = f32; // the type of the sums
const WORKGROUP = 64u;

var<workgroup> sums: array<C, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= params.outer * params.inner) {
    return;
  }
  let base = row / params.inner * params.columns * params.inner + row % params.inner;
  let length = (params.columns + WORKGROUP - 1u) / WORKGROUP;
  let first = min(lane * length, params.columns);
  let end = min(first + length, params.columns);
  var sum = C(0);
  for (var k = first; k < end; k++) {
    sum += C(x[base + position(k) * params.inner]);
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var step = 1u; step < WORKGROUP; step *= 2u) {
    var before = C(0);
    if (lane >= step) {
      before = sums[lane - step];
    }
    workgroupBarrier();
    sums[lane] += before;
    workgroupBarrier();
  }
  sum = C(0);
  if (lane > 0u) {
    sum = sums[lane - 1u];
  }
  for (var k = first; k < end; k++) {
    let at = base + position(k) * params.inner;
    sum += C(x[at]);
    y[at] = Y(sum);
  }
}

fn position(k: u32) -> u32 {
  return select(k, params.columns - 1u - k, params.reverse == 1u);
}
