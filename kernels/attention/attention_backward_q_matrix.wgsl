var<workgroup> tile_k: array<vec4<f16>, OTHER * STRIDE>;
var<workgroup> tile_v: array<vec4<f16>, OTHER * STRIDE>;
var<workgroup> slopes: array<vec4f, OWN * S_STRIDE>; // d_o v, in the layout of the scores
var<workgroup> weights: array<vec4<f16>, OWN * W_STRIDE>; // gradients of the scores
var<workgroup> parts: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let h = group.y;
  let b = group.z;
  let kv_head = h / (params.heads / params.kv_heads);
  // The last queries see the most keys, so they begin first.
  let first_row = (groups.x - 1u - group.x) * OWN;
  let q_at = params.q_start + b * params.q_batch + h * params.q_head;
  let o_at = b * params.o_batch + h * params.o_head;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  let top = index / 32u * 16u; // the first row of this subgroup
  let row = index / 2u;
  let half = index % 2u;
  let query = min(first_row + row, params.queries - 1u);
  let lse_at = (b * params.heads + h) * params.queries + query;
  let delta_at = params.batch * params.heads * params.queries + lse_at;
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let other = min(first_row + e / u32(D4), params.queries - 1u);
    tile_own[e / u32(D4) * STRIDE + e % u32(D4)] = q[(q_at + other * params.q_time) / 4u + e % u32(D4)];
  }
  workgroupBarrier();
  //#repeat c 0..D16
  let q{c} = subgroupMatrixLoad<Left, row_major>(&tile_own, top * STRIDE + {4*c}u, STRIDE);
  var d{c} = Sum();
  //#end
  workgroupBarrier();
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let other = min(first_row + e / u32(D4), params.queries - 1u);
    tile_own[e / u32(D4) * STRIDE + e % u32(D4)] = d_o[(o_at + other * params.o_time) / 4u + e % u32(D4)];
  }
  var part = 0.0;
  for (var c = half; c < u32(D4); c += 2u) {
    part += dot(load_d_o(o_at + query * params.o_time, c), load_o(o_at + query * params.o_time, c));
  }
  parts[index] = part;
  workgroupBarrier();
  //#repeat c 0..D16
  let g{c} = subgroupMatrixLoad<Left, row_major>(&tile_own, top * STRIDE + {4*c}u, STRIDE);
  //#end
  let delta = part + parts[index ^ 1u];
  let log_sum = lse[lse_at];
  // The keys that the own row may see, and those that any row of the workgroup may see.
  let seen = keys_seen(b, params.position + i32(query));
  let begin = first_key(b, params.position + i32(first_row));
  let end = keys_seen(b, params.position + i32(min(first_row + OWN, params.queries)) - 1).y;
  for (var first = begin; first < end; first += OTHER) {
    for (var e = index; e < OTHER * u32(D4); e += THREADS) {
      let key = min(first + e / u32(D4), params.keys - 1u);
      let at = e / u32(D4) * STRIDE + e % u32(D4);
      tile_k[at] = k[(k_at + key * params.k_time) / 4u + e % u32(D4)];
      tile_v[at] = v[(v_at + key * params.v_time) / 4u + e % u32(D4)];
    }
    workgroupBarrier();
    //#repeat n 0..OTHER16
    var s{n} = Sum();
    var t{n} = Sum();
    //#repeat c 0..D16
    s{n} = subgroupMatrixMultiplyAccumulate(q{c}, subgroupMatrixLoad<Right, col_major>(&tile_k, {16*n}u * STRIDE + {4*c}u, STRIDE), s{n});
    t{n} = subgroupMatrixMultiplyAccumulate(g{c}, subgroupMatrixLoad<Right, col_major>(&tile_v, {16*n}u * STRIDE + {4*c}u, STRIDE), t{n});
    //#end
    subgroupMatrixStore<row_major>(&scores, top * S_STRIDE + {4*n}u, s{n}, S_STRIDE);
    subgroupMatrixStore<row_major>(&slopes, top * S_STRIDE + {4*n}u, t{n}, S_STRIDE);
    //#end
    workgroupBarrier();
    //#repeat e 0..EIGHTHS
    {
      let four = half * u32(EIGHTHS) + {e}u;
      let key = first + 4u * four + vec4u(0u, 1u, 2u, 3u);
      let shown = (key >= vec4u(seen.x)) & (key < vec4u(seen.y)) & may_be_seen_each(b, key);
      let p = exp(params.scale * scores[row * S_STRIDE + four] - log_sum);
      let slope = p * (slopes[row * S_STRIDE + four] * kept_of(lse_at, first / 4u + four) - delta);
      weights[row * W_STRIDE + four] = vec4<f16>(select(vec4f(), slope, shown));
    }
    //#end
    workgroupBarrier();
    //#repeat n 0..OTHER16
    let w{n} = subgroupMatrixLoad<Left, row_major>(&weights, top * W_STRIDE + {4*n}u, W_STRIDE);
    //#repeat c 0..D16
    d{c} = subgroupMatrixMultiplyAccumulate(w{n}, subgroupMatrixLoad<Right, row_major>(&tile_k, {16*n}u * STRIDE + {4*c}u, STRIDE), d{c});
    //#end
    //#end
    workgroupBarrier();
  }
  let inside = first_row + row < params.queries;
  if (half == 0u && inside) {
    lse[delta_at] = delta;
  }
  //#repeat c 0..D16
  subgroupMatrixStore<row_major>(&scores, top * S_STRIDE, d{c}, S_STRIDE);
  workgroupBarrier();
  if (inside) {
    let at = q_at + query * params.q_time;
    store_d_q(at, {4*c}u + 2u * half, params.scale * scores[row * S_STRIDE + 2u * half]);
    store_d_q(at, {4*c}u + 2u * half + 1u, params.scale * scores[row * S_STRIDE + 2u * half + 1u]);
  }
  workgroupBarrier();
  //#end
}
