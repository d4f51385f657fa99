// For software adapters with subgroups of 8 (see attention.wgsl): each lane loads one of 8 rows of the other side and
// broadcasts it. Loops are not unrolled and rows are arrays, which compiles ten times faster and runs faster there.
@compute @workgroup_size(ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let h = group.y;
  let b = group.z;
  let kv_head = h / (params.heads / params.kv_heads);
  let d4 = (params.d + 3u) / 4u; // not the constant D4: Mesa would unroll the loops, which takes long to compile
  let row = group.x * ROWS + index;
  let query = min(row, params.queries - 1u);
  let q_at = params.q_start + b * params.q_batch + h * params.q_head + query * params.q_time;
  let o_at = b * params.o_batch + h * params.o_head + query * params.o_time;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  let lse_at = (b * params.heads + h) * params.queries + query;
  let log_sum = lse[lse_at];
  var delta = 0.0;
  var q_row: array<vec4f, D4>;
  var g_row: array<vec4f, D4>;
  var d_row: array<vec4f, D4>;
  for (var i = 0u; i < d4; i++) {
    let g = load_d_o(o_at, i);
    delta += dot(g, load_o(o_at, i));
    q_row[i] = params.scale * load_q(q_at, i);
    g_row[i] = g;
    d_row[i] = vec4f();
  }
  // The keys that this row may see, and those that any row of the workgroup may see.
  let seen = keys_seen(b, params.position + i32(query));
  let begin = first_key(b, params.position + i32(group.x * ROWS));
  let end = keys_seen(b, params.position + i32(min(group.x * ROWS + ROWS, params.queries)) - 1).y;
  for (var key = begin; key < end; key += 8u * u32(TILES)) {
    //#repeat t 0..TILES
    let mine{t} = min(key + {8*t}u + index, params.keys - 1u);
    let open{t} = u32(may_be_seen(b, mine{t}));
    //#repeat l 8*t..8*t+8
    let shown{l} = subgroupBroadcast(open{t}, {l - 8*t}u) != 0u;
    //#end
    //#end
    //#repeat l 0..8*TILES
    var s{l} = 0.0;
    var t{l} = 0.0;
    //#end
    for (var i = 0u; i < d4; i++) {
      let q = q_row[i];
      let g = g_row[i];
      //#repeat t 0..TILES
      let k{t} = load_k(k_at + mine{t} * params.k_time, i);
      let v{t} = load_v(v_at + mine{t} * params.v_time, i);
      //#repeat l 8*t..8*t+8
      s{l} += dot(q, subgroupBroadcast(k{t}, {l - 8*t}u));
      t{l} += dot(g, subgroupBroadcast(v{t}, {l - 8*t}u));
      //#end
      //#end
    }
    //#repeat t 0..2*TILES
    let kept{t} = kept_of(lse_at, key / 4u + {t}u);
    //#repeat l 4*t..4*t+4
    let seen{l} = shown{l} && within(key + {l}u, seen);
    let w{l} = select(0.0, exp(s{l} - log_sum) * (t{l} * kept{t}[{l-4*t}] - delta), seen{l});
    //#end
    //#end
    for (var i = 0u; i < d4; i++) {
      var d = d_row[i];
      //#repeat t 0..TILES
      let k{t} = load_k(k_at + mine{t} * params.k_time, i);
      //#repeat l 8*t..8*t+8
      d += w{l} * subgroupBroadcast(k{t}, {l - 8*t}u);
      //#end
      //#end
      d_row[i] = d;
    }
  }
  if (row < params.queries) {
    lse[params.batch * params.heads * params.queries + lse_at] = delta;
    for (var i = 0u; i < d4; i++) {
      store_d_q(q_at, i, params.scale * d_row[i]);
    }
  }
}
