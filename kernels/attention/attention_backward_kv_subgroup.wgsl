// For software adapters with subgroups of 8 (see attention.wgsl): each lane loads one of 8 rows of the other side and
// broadcasts it. Loops are not unrolled and rows are arrays, which compiles ten times faster and runs faster there.
@compute @workgroup_size(ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let kv_head = group.y;
  let b = group.z;
  let share = params.heads / params.kv_heads;
  let d4 = (params.d + 3u) / 4u; // not the constant D4: Mesa would unroll the loops, which takes long to compile
  let row = group.x * ROWS + index;
  let key = min(row, params.keys - 1u);
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head + key * params.k_time;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head + key * params.v_time;
  let shown = may_be_seen(b, key);
  var k_row: array<vec4f, D4>;
  var v_row: array<vec4f, D4>;
  var dk_row: array<vec4f, D4>;
  var dv_row: array<vec4f, D4>;
  for (var i = 0u; i < d4; i++) {
    k_row[i] = load_k(k_at, i);
    v_row[i] = load_v(v_at, i);
    dk_row[i] = vec4f();
    dv_row[i] = vec4f();
  }
  // The queries that see this key, and those that see any key of the workgroup.
  let seeing = queries_seeing(b, key);
  let begin = queries_seeing(b, group.x * ROWS).x;
  let end = queries_seeing(b, min(group.x * ROWS + ROWS, params.keys) - 1u).y;
  for (var h = kv_head * share; h < (kv_head + 1u) * share; h++) {
    let q_at = params.q_start + b * params.q_batch + h * params.q_head;
    let g_at = b * params.o_batch + h * params.o_head;
    let lse_at = (b * params.heads + h) * params.queries;
    let delta_at = params.batch * params.heads * params.queries + lse_at;
    for (var query = begin; query < end; query += 8u * u32(TILES)) {
      //#repeat t 0..TILES
      let mine{t} = min(query + {8*t}u + index, params.queries - 1u);
      let log_sum{t} = lse[lse_at + mine{t}];
      let delta{t} = lse[delta_at + mine{t}];
      // For the 8 keys of the workgroup.
      let kept{t} = kept_bits(lse_at + mine{t}, group.x * 2u) | (kept_bits(lse_at + mine{t}, group.x * 2u + 1u) << 4u);
      //#repeat l 8*t..8*t+8
      var s{l} = 0.0;
      var t{l} = 0.0;
      //#end
      //#end
      for (var i = 0u; i < d4; i++) {
        let k = k_row[i];
        let v = v_row[i];
        //#repeat t 0..TILES
        let q{t} = params.scale * load_q(q_at + mine{t} * params.q_time, i);
        let g{t} = load_d_o(g_at + mine{t} * params.o_time, i);
        //#repeat l 8*t..8*t+8
        s{l} += dot(k, subgroupBroadcast(q{t}, {l - 8*t}u));
        t{l} += dot(v, subgroupBroadcast(g{t}, {l - 8*t}u));
        //#end
        //#end
      }
      //#repeat t 0..TILES
      //#repeat l 8*t..8*t+8
      let seen{l} = shown && within(query + {l}u, seeing);
      let p{l} = select(0.0, exp(s{l} - subgroupBroadcast(log_sum{t}, {l - 8*t}u)), seen{l});
      let kept_here{l} = kept_factor(subgroupBroadcast(kept{t}, {l - 8*t}u), index);
      let w{l} = p{l} * kept_here{l};
      let u{l} = p{l} * (t{l} * kept_here{l} - subgroupBroadcast(delta{t}, {l - 8*t}u));
      //#end
      //#end
      for (var i = 0u; i < d4; i++) {
        var dk = dk_row[i];
        var dv = dv_row[i];
        //#repeat t 0..TILES
        let q{t} = params.scale * load_q(q_at + mine{t} * params.q_time, i);
        let g{t} = load_d_o(g_at + mine{t} * params.o_time, i);
        //#repeat l 8*t..8*t+8
        dk += u{l} * subgroupBroadcast(q{t}, {l - 8*t}u);
        dv += w{l} * subgroupBroadcast(g{t}, {l - 8*t}u);
        //#end
        //#end
        dk_row[i] = dk;
        dv_row[i] = dv;
      }
    }
  }
  if (row < params.keys) {
    for (var i = 0u; i < d4; i++) {
      store_d_k(k_at, i, dk_row[i]);
      store_d_v(v_at, i, dv_row[i]);
    }
  }
}
