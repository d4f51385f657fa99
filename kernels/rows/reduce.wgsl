// y[o, s, c] = the reduction of x[o, s * length .. (s + 1) * length, c]. One invocation per element of y.
alias C = f32; // the type of the computation
const OP = 0u; // 0 sum, 1 max, 2 min

fn nan_bits(v: C) -> bool {
  return params.float == 1u && (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// Propagates NaN, which the built-in max and min do not guarantee.
fn combine(a: C, b: C) -> C {
  if (OP == 0u) {
    return a + b;
  }
  let second = select((b < a), (b > a), OP == 1u) || nan_bits(b);
  return select(a, b, second && !nan_bits(a));
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.count) {
    return;
  }
  let c = i % params.inner;
  let rest = i / params.inner;
  let s = rest % params.slabs;
  let o = rest / params.slabs;
  let first = s * params.length;
  let end = min(first + params.length, params.reduced);
  var at = (o * params.reduced + first) * params.inner + c;
  let step = params.inner;
  // Four independent sums: shorter dependency chains, and less rounding error.
  let fours = (end - first) / 4u;
  var result: C;
  var k = first + 4u * fours;
  if (fours > 0u) {
    var a0 = C(x[at]);
    var a1 = C(x[at + step]);
    var a2 = C(x[at + 2u * step]);
    var a3 = C(x[at + 3u * step]);
    for (var n = 1u; n < fours; n++) {
      at += 4u * step;
      a0 = combine(a0, C(x[at]));
      a1 = combine(a1, C(x[at + step]));
      a2 = combine(a2, C(x[at + 2u * step]));
      a3 = combine(a3, C(x[at + 3u * step]));
    }
    at += 4u * step;
    result = combine(combine(a0, a1), combine(a2, a3));
  } else if (end > first) {
    result = C(x[at]);
    at += step;
    k += 1u;
  }
  for (; k < end; k++) {
    result = combine(result, C(x[at]));
    at += step;
  }
  if (OP == 0u && params.float == 1u) {
    result = C(f32(result) * params.scale);
  }
  y[i] = Y(result);
}
