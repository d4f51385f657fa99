var<workgroup> tile_k: array<vec4<f16>, OTHER * STRIDE>;
var<workgroup> tile_v: array<vec4<f16>, OTHER * STRIDE>;
var<workgroup> weights: array<vec4<f16>, OWN * W_STRIDE>;
var<workgroup> parts: array<vec2f, THREADS>;

// Matrices cannot be scaled by rows, so there are two passes over the keys: for the sums of exponentials, then for
// the values.
@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let h = group.y;
  let b = group.z;
  let kv_head = h / (params.heads / params.kv_heads);
  let lse_at = (b * params.heads + h) * params.queries;
  // The last queries see the most keys, so they begin first.
  let first_row = (groups.x - 1u - group.x) * OWN;
  let q_at = params.q_start + b * params.q_batch + h * params.q_head;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let query = min(first_row + e / u32(D4), params.queries - 1u);
    tile_own[e / u32(D4) * STRIDE + e % u32(D4)] = q[(q_at + query * params.q_time) / 4u + e % u32(D4)];
  }
  workgroupBarrier();
  let top = index / 32u * 16u; // the first row of this subgroup
  //#repeat c 0..D16
  let q{c} = subgroupMatrixLoad<Left, row_major>(&tile_own, top * STRIDE + {4*c}u, STRIDE);
  var o{c} = Sum();
  //#end
  let row = index / 2u;
  let half = index % 2u;
  let position = first_position(b);
  // The keys that the own row may see, and those that any row of the workgroup may see.
  let seen = keys_seen(b, position + i32(min(first_row + row, params.queries - 1u)));
  let begin = first_key(b, position + i32(first_row));
  let end = keys_seen(b, position + i32(min(first_row + OWN, params.queries)) - 1).y;
  var highest = HIDDEN;
  var sum = 0.0;
  var log_sum = 0.0;
  for (var turn = 0u; turn < 2u; turn++) {
    for (var first = begin; first < end; first += OTHER) {
      for (var e = index; e < OTHER * u32(D4); e += THREADS) {
        let key = min(first + e / u32(D4), params.keys - 1u);
        let at = e / u32(D4) * STRIDE + e % u32(D4);
        tile_k[at] = k[(k_at + key * params.k_time) / 4u + e % u32(D4)];
        if (turn == 1u) {
          tile_v[at] = v[(v_at + key * params.v_time) / 4u + e % u32(D4)];
        }
      }
      workgroupBarrier();
      //#repeat n 0..OTHER16
      var s{n} = Sum();
      //#repeat c 0..D16
      s{n} = subgroupMatrixMultiplyAccumulate(q{c}, subgroupMatrixLoad<Right, col_major>(&tile_k, {16*n}u * STRIDE + {4*c}u, STRIDE), s{n});
      //#end
      subgroupMatrixStore<row_major>(&scores, top * S_STRIDE + {4*n}u, s{n}, S_STRIDE);
      //#end
      workgroupBarrier();
      //#repeat e 0..EIGHTHS
      let four{e} = half * u32(EIGHTHS) + {e}u;
      let key{e} = first + 4u * four{e} + vec4u(0u, 1u, 2u, 3u);
      let shown{e} = (key{e} >= vec4u(seen.x)) & (key{e} < vec4u(seen.y)) & may_be_seen_each(b, key{e});
      let score{e} = select(vec4f(HIDDEN), params.scale * scores[row * S_STRIDE + four{e}], shown{e});
      //#end
      if (turn == 0u) {
        let before = highest;
        //#repeat e 0..EIGHTHS
        highest = max(highest, max(max(score{e}.x, score{e}.y), max(score{e}.z, score{e}.w)));
        //#end
        sum *= exp(before - highest);
        //#repeat e 0..EIGHTHS
        sum += dot(select(vec4f(), exp(score{e} - highest), shown{e}), vec4f(1.0));
        //#end
      } else {
        //#repeat e 0..EIGHTHS
        let kept{e} = kept_of(lse_at + first_row + row, first / 4u + four{e});
        weights[row * W_STRIDE + four{e}] = vec4<f16>(select(vec4f(), exp(score{e} - log_sum), shown{e}) * kept{e});
        //#end
      }
      workgroupBarrier();
      if (turn == 1u) {
        //#repeat n 0..OTHER16
        let w{n} = subgroupMatrixLoad<Left, row_major>(&weights, top * W_STRIDE + {4*n}u, W_STRIDE);
        //#repeat c 0..D16
        o{c} = subgroupMatrixMultiplyAccumulate(w{n}, subgroupMatrixLoad<Right, row_major>(&tile_v, {16*n}u * STRIDE + {4*c}u, STRIDE), o{c});
        //#end
        //#end
        workgroupBarrier();
      }
    }
    if (turn == 0u) {
      // Combines the two halves of a row.
      parts[index] = vec2f(highest, sum);
      workgroupBarrier();
      let other = parts[index ^ 1u];
      let top_of_row = max(highest, other.x);
      let total = sum * exp(highest - top_of_row) + other.y * exp(other.x - top_of_row);
      // The infinite sum of a row that saw no key makes its weights 0 in the backward pass.
      var infinity = 0x7f800000u;
      log_sum = select(bitcast<f32>(infinity), top_of_row + log(total), total > 0.0);
    }
  }
  if (half == 0u && first_row + row < params.queries) {
    lse[lse_at + first_row + row] = log_sum;
  }
  let o_at = b * params.o_batch + h * params.o_head + (first_row + row) * params.o_time;
  //#repeat c 0..D16
  subgroupMatrixStore<row_major>(&scores, top * S_STRIDE, o{c}, S_STRIDE);
  workgroupBarrier();
  if (first_row + row < params.queries) {
    store_o(o_at, {4*c}u + 2u * half, scores[row * S_STRIDE + 2u * half]);
    store_o(o_at, {4*c}u + 2u * half + 1u, scores[row * S_STRIDE + 2u * half + 1u]);
  }
  workgroupBarrier();
  //#end
}
