var<workgroup> tile_q: array<vec4<f16>, OTHER * STRIDE>;
var<workgroup> tile_g: array<vec4<f16>, OTHER * STRIDE>; // of d_o
var<workgroup> slopes: array<vec4f, OWN * S_STRIDE>; // v d_o, in the layout of the scores
var<workgroup> weights: array<vec4<f16>, OWN * W_STRIDE>;
var<workgroup> d_scores: array<vec4<f16>, OWN * W_STRIDE>; // gradients of the scores
var<workgroup> log_sums: array<f32, OTHER>;
var<workgroup> deltas: array<f32, OTHER>;
//#if DROPOUT
var<workgroup> kept: array<u32, OWN / 4u * OTHER>; // from kept_bits, [other row][own row / 4]
//#end

// The factors of dropout for the weights of an own row and the other rows from i on.
fn drawn_factors(row: u32, i: u32) -> vec4f {
  //#if DROPOUT
  let at = i * (OWN / 4u) + row / 4u;
  return kept_factors(vec4u(kept[at], kept[at + OWN / 4u], kept[at + OWN / 2u], kept[at + OWN / 4u * 3u]), row % 4u);
  //#else
  return vec4f(1.0);
  //#end
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let kv_head = group.y;
  let b = group.z;
  let share = params.heads / params.kv_heads;
  let first_row = group.x * OWN;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  let top = index / 32u * 16u; // the first row of this subgroup
  let row = index / 2u;
  let half = index % 2u;
  let key = min(first_row + row, params.keys - 1u);
  let shown = may_be_seen(b, key);
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let other = min(first_row + e / u32(D4), params.keys - 1u);
    tile_own[e / u32(D4) * STRIDE + e % u32(D4)] = k[(k_at + other * params.k_time) / 4u + e % u32(D4)];
  }
  workgroupBarrier();
  //#repeat c 0..D16
  let k{c} = subgroupMatrixLoad<Left, row_major>(&tile_own, top * STRIDE + {4*c}u, STRIDE);
  var dk{c} = Sum();
  var dv{c} = Sum();
  //#end
  workgroupBarrier();
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let other = min(first_row + e / u32(D4), params.keys - 1u);
    tile_own[e / u32(D4) * STRIDE + e % u32(D4)] = v[(v_at + other * params.v_time) / 4u + e % u32(D4)];
  }
  workgroupBarrier();
  //#repeat c 0..D16
  let v{c} = subgroupMatrixLoad<Left, row_major>(&tile_own, top * STRIDE + {4*c}u, STRIDE);
  //#end
  // The queries that see the own key, and those that see any key of the workgroup.
  let seeing = queries_seeing(b, key);
  let begin = queries_seeing(b, first_row).x;
  let end = queries_seeing(b, min(first_row + OWN, params.keys) - 1u).y;
  for (var h = kv_head * share; h < (kv_head + 1u) * share; h++) {
    let q_at = params.q_start + b * params.q_batch + h * params.q_head;
    let g_at = b * params.o_batch + h * params.o_head;
    let lse_at = (b * params.heads + h) * params.queries;
    let delta_at = params.batch * params.heads * params.queries + lse_at;
    for (var first = begin; first < end; first += OTHER) {
      for (var e = index; e < OTHER * u32(D4); e += THREADS) {
        let query = min(first + e / u32(D4), params.queries - 1u);
        let at = e / u32(D4) * STRIDE + e % u32(D4);
        tile_q[at] = q[(q_at + query * params.q_time) / 4u + e % u32(D4)];
        tile_g[at] = d_o[(g_at + query * params.o_time) / 4u + e % u32(D4)];
      }
      for (var e = index; e < OTHER; e += THREADS) {
        let query = min(first + e, params.queries - 1u);
        log_sums[e] = lse[lse_at + query];
        deltas[e] = lse[delta_at + query];
      }
      //#if DROPOUT
      for (var e = index; e < OWN / 4u * OTHER; e += THREADS) {
        kept[e] = kept_bits(lse_at + first + e / (OWN / 4u), first_row / 4u + e % (OWN / 4u));
      }
      //#end
      workgroupBarrier();
      //#repeat n 0..OTHER16
      var s{n} = Sum();
      var t{n} = Sum();
      //#repeat c 0..D16
      s{n} = subgroupMatrixMultiplyAccumulate(k{c}, subgroupMatrixLoad<Right, col_major>(&tile_q, {16*n}u * STRIDE + {4*c}u, STRIDE), s{n});
      t{n} = subgroupMatrixMultiplyAccumulate(v{c}, subgroupMatrixLoad<Right, col_major>(&tile_g, {16*n}u * STRIDE + {4*c}u, STRIDE), t{n});
      //#end
      subgroupMatrixStore<row_major>(&scores, top * S_STRIDE + {4*n}u, s{n}, S_STRIDE);
      subgroupMatrixStore<row_major>(&slopes, top * S_STRIDE + {4*n}u, t{n}, S_STRIDE);
      //#end
      workgroupBarrier();
      //#repeat e 0..EIGHTHS
      {
        let four = half * u32(EIGHTHS) + {e}u;
        let i = 4u * four;
        let query = first + i + vec4u(0u, 1u, 2u, 3u);
        let seen = (query >= vec4u(seeing.x)) & (query < vec4u(seeing.y)) & vec4<bool>(shown);
        let log_sum = vec4f(log_sums[i], log_sums[i + 1u], log_sums[i + 2u], log_sums[i + 3u]);
        let delta = vec4f(deltas[i], deltas[i + 1u], deltas[i + 2u], deltas[i + 3u]);
        let p = select(vec4f(), exp(params.scale * scores[row * S_STRIDE + four] - log_sum), seen);
        let factors = drawn_factors(row, i);
        weights[row * W_STRIDE + four] = vec4<f16>(p * factors);
        d_scores[row * W_STRIDE + four] = vec4<f16>(p * (slopes[row * S_STRIDE + four] * factors - delta));
      }
      //#end
      workgroupBarrier();
      //#repeat n 0..OTHER16
      let w{n} = subgroupMatrixLoad<Left, row_major>(&weights, top * W_STRIDE + {4*n}u, W_STRIDE);
      let u{n} = subgroupMatrixLoad<Left, row_major>(&d_scores, top * W_STRIDE + {4*n}u, W_STRIDE);
      //#repeat c 0..D16
      dv{c} = subgroupMatrixMultiplyAccumulate(w{n}, subgroupMatrixLoad<Right, row_major>(&tile_g, {16*n}u * STRIDE + {4*c}u, STRIDE), dv{c});
      dk{c} = subgroupMatrixMultiplyAccumulate(u{n}, subgroupMatrixLoad<Right, row_major>(&tile_q, {16*n}u * STRIDE + {4*c}u, STRIDE), dk{c});
      //#end
      //#end
      workgroupBarrier();
    }
  }
  let inside = first_row + row < params.keys;
  let dk_at = k_at + key * params.k_time;
  let dv_at = v_at + key * params.v_time;
  //#repeat c 0..D16
  subgroupMatrixStore<row_major>(&scores, top * S_STRIDE, dk{c}, S_STRIDE);
  subgroupMatrixStore<row_major>(&slopes, top * S_STRIDE, dv{c}, S_STRIDE);
  workgroupBarrier();
  if (inside) {
    //#repeat j 0..2
    store_d_k(dk_at, {4*c+j}u + 2u * half, params.scale * scores[row * S_STRIDE + 2u * half + {j}u]);
    store_d_v(dv_at, {4*c+j}u + 2u * half, slopes[row * S_STRIDE + 2u * half + {j}u]);
    //#end
  }
  workgroupBarrier();
  //#end
}
