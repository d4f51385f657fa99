// y[o, c] = the index along the reduced axis of the largest (smallest) x[o, :, c]. One workgroup per element of y.
alias C = f32; // the type of the comparisons
const LARGEST = true;
const FLOAT = true;
const WORKGROUP = 64u;

var<workgroup> values: array<C, WORKGROUP>;
var<workgroup> indices: array<u32, WORKGROUP>;

fn nan_bits(v: C) -> bool {
  return FLOAT && (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// NaN wins, as in PyTorch; among equals, the first.
fn wins(a: C, i: u32, b: C, j: u32) -> bool {
  if (j == 0xffffffffu || i == 0xffffffffu) {
    return i != 0xffffffffu;
  }
  let x = nan_bits(a);
  let y = nan_bits(b);
  if (x || y) {
    return x && (!y || i < j);
  }
  if (a == b) {
    return i < j;
  }
  return select((a < b), (a > b), LARGEST);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let output = group.x + group.y * groups.x;
  if (output >= params.count) {
    return;
  }
  let base = output / params.inner * params.reduced * params.inner + output % params.inner;
  var best = C(0);
  var at = 0xffffffffu; // none yet
  for (var k = lane; k < params.reduced; k += WORKGROUP) {
    let value = C(x[base + k * params.inner]);
    if (wins(value, k, best, at)) {
      best = value;
      at = k;
    }
  }
  values[lane] = best;
  indices[lane] = at;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      let other = lane + half;
      if (wins(values[other], indices[other], values[lane], indices[lane])) {
        values[lane] = values[other];
        indices[lane] = indices[other];
      }
    }
  }
  if (lane == 0u) {
    y[output] = Y(indices[0]);
  }
}
