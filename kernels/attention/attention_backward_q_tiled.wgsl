// For GPUs (see attention.wgsl): rows of the other side are in workgroup memory, the own row in named registers.
var<workgroup> tile_k: array<vec4f, TILE_VECTORS>;
var<workgroup> tile_v: array<vec4f, TILE_VECTORS>;

@compute @workgroup_size(ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let h = group.y;
  let b = group.z;
  let kv_head = h / (params.heads / params.kv_heads);
  let row = group.x * ROWS + index;
  let query = min(row, params.queries - 1u);
  let q_at = params.q_start + b * params.q_batch + h * params.q_head + query * params.q_time;
  let o_at = b * params.o_batch + h * params.o_head + query * params.o_time;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  let lse_at = (b * params.heads + h) * params.queries + query;
  let log_sum = lse[lse_at];
  var delta = 0.0;
  //#repeat i 0..D4
  let q{i} = params.scale * load_q(q_at, {i}u);
  let g{i} = load_d_o(o_at, {i}u);
  delta += dot(g{i}, load_o(o_at, {i}u));
  var d{i} = vec4f();
  //#end
  // The keys that this row may see, and those that any row of the workgroup may see.
  let seen = keys_seen(b, params.position + i32(query));
  let begin = first_key(b, params.position + i32(group.x * ROWS));
  let end = keys_seen(b, params.position + i32(min(group.x * ROWS + ROWS, params.queries)) - 1).y;
  for (var first = begin; first < end; first += 8u * u32(TILES)) {
    workgroupBarrier();
    for (var e = index; e < u32(TILE_VECTORS); e += ROWS) {
      let key = min(first + e / u32(D4), params.keys - 1u);
      tile_k[e] = load_k(k_at + key * params.k_time, e % u32(D4));
      tile_v[e] = load_v(v_at + key * params.v_time, e % u32(D4));
    }
    workgroupBarrier();
    for (var step = 0u; step < 8u * u32(TILES) && first + step < end; step += 8u) {
      let key = first + step;
      //#repeat l 0..8
      let shown{l} = may_be_seen(b, key + {l}u);
      //#end
      //#repeat l 0..8
      var s{l} = 0.0;
      var t{l} = 0.0;
      //#end
      //#repeat i 0..D4
      //#repeat l 0..8
      s{l} += dot(q{i}, tile_k[(step + {l}u) * u32(D4) + {i}u]);
      t{l} += dot(g{i}, tile_v[(step + {l}u) * u32(D4) + {i}u]);
      //#end
      //#end
      //#repeat t 0..2
      let kept{t} = kept_of(lse_at, key / 4u + {t}u);
      //#repeat l 4*t..4*t+4
      let seen{l} = shown{l} && within(key + {l}u, seen);
      let w{l} = select(0.0, exp(s{l} - log_sum) * (t{l} * kept{t}[{l-4*t}] - delta), seen{l});
      //#end
      //#end
      //#repeat i 0..D4
      //#repeat l 0..8
      d{i} += w{l} * tile_k[(step + {l}u) * u32(D4) + {i}u];
      //#end
      //#end
    }
  }
  if (row < params.queries) {
    lse[params.batch * params.heads * params.queries + lse_at] = delta;
    //#repeat i 0..D4
    store_d_q(q_at, {i}u, params.scale * d{i});
    //#end
  }
}
