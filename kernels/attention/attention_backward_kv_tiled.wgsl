// For GPUs (see attention.wgsl): rows of the other side are in workgroup memory, the own row in named registers.
var<workgroup> tile_q: array<vec4f, TILE_VECTORS>;
var<workgroup> tile_g: array<vec4f, TILE_VECTORS>;

@compute @workgroup_size(ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let kv_head = group.y;
  let b = group.z;
  let share = params.heads / params.kv_heads;
  let row = group.x * ROWS + index;
  let key = min(row, params.keys - 1u);
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head + key * params.k_time;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head + key * params.v_time;
  let shown = may_be_seen(b, key);
  //#repeat i 0..D4
  let k{i} = load_k(k_at, {i}u);
  let v{i} = load_v(v_at, {i}u);
  var dk{i} = vec4f();
  var dv{i} = vec4f();
  //#end
  // The queries that see this key, and those that see any key of the workgroup.
  let seeing = queries_seeing(b, key);
  let begin = queries_seeing(b, group.x * ROWS).x;
  let end = queries_seeing(b, min(group.x * ROWS + ROWS, params.keys) - 1u).y;
  for (var h = kv_head * share; h < (kv_head + 1u) * share; h++) {
    let q_at = params.q_start + b * params.q_batch + h * params.q_head;
    let g_at = b * params.o_batch + h * params.o_head;
    let lse_at = (b * params.heads + h) * params.queries;
    let delta_at = params.batch * params.heads * params.queries + lse_at;
    for (var first = begin; first < end; first += 8u * u32(TILES)) {
      workgroupBarrier();
      for (var e = index; e < u32(TILE_VECTORS); e += ROWS) {
        let query = min(first + e / u32(D4), params.queries - 1u);
        tile_q[e] = params.scale * load_q(q_at + query * params.q_time, e % u32(D4));
        tile_g[e] = load_d_o(g_at + query * params.o_time, e % u32(D4));
      }
      workgroupBarrier();
      for (var step = 0u; step < 8u * u32(TILES) && first + step < end; step += 8u) {
        let query = first + step;
        //#repeat l 0..8
        let log_sum{l} = lse[lse_at + min(query + {l}u, params.queries - 1u)];
        let delta{l} = lse[delta_at + min(query + {l}u, params.queries - 1u)];
        //#end
        //#repeat l 0..8
        var s{l} = 0.0;
        var t{l} = 0.0;
        //#end
        //#repeat i 0..D4
        //#repeat l 0..8
        s{l} += dot(k{i}, tile_q[(step + {l}u) * u32(D4) + {i}u]);
        t{l} += dot(v{i}, tile_g[(step + {l}u) * u32(D4) + {i}u]);
        //#end
        //#end
        //#repeat l 0..8
        let seen{l} = shown && within(query + {l}u, seeing);
        let p{l} = select(0.0, exp(s{l} - log_sum{l}), seen{l});
        let kept{l} = kept_factor(kept_bits(lse_at + query + {l}u, key / 4u), key % 4u);
        let w{l} = p{l} * kept{l};
        let u{l} = p{l} * (t{l} * kept{l} - delta{l});
        //#end
        //#repeat i 0..D4
        //#repeat l 0..8
        dk{i} += u{l} * tile_q[(step + {l}u) * u32(D4) + {i}u];
        dv{i} += w{l} * tile_g[(step + {l}u) * u32(D4) + {i}u];
        //#end
        //#end
      }
    }
  }
  if (row < params.keys) {
    //#repeat i 0..D4
    store_d_k(k_at, {i}u, dk{i});
    store_d_v(v_at, {i}u, dv{i});
    //#end
  }
}
