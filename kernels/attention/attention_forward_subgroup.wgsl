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
  let lse_at = (b * params.heads + h) * params.queries;
  let d4 = (params.d + 3u) / 4u; // not the constant D4: Mesa would unroll the loops, which takes long to compile
  let row = group.x * ROWS + index;
  let query = min(row, params.queries - 1u);
  let q_at = params.q_start + b * params.q_batch + h * params.q_head + query * params.q_time;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  var q_row: array<vec4f, D4>;
  var o_row: array<vec4f, D4>;
  for (var i = 0u; i < d4; i++) {
    q_row[i] = params.scale * load_q(q_at, i);
    o_row[i] = vec4f();
  }
  var highest = HIDDEN;
  var sum = 0.0;
  let position = first_position(b);
  // The keys that this row may see, and those that any row of the workgroup may see.
  let seen = keys_seen(b, position + i32(query));
  let begin = first_key(b, position + i32(group.x * ROWS));
  let end = keys_seen(b, position + i32(min(group.x * ROWS + ROWS, params.queries)) - 1).y;
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
    //#end
    for (var i = 0u; i < d4; i++) {
      let x = q_row[i];
      //#repeat t 0..TILES
      let y{t} = load_k(k_at + mine{t} * params.k_time, i);
      //#repeat l 8*t..8*t+8
      s{l} += dot(x, subgroupBroadcast(y{t}, {l - 8*t}u));
      //#end
      //#end
    }
    var top = highest;
    //#repeat l 0..8*TILES
    s{l} = select(HIDDEN, s{l}, shown{l} && within(key + {l}u, seen));
    top = max(top, s{l});
    //#end
    let shrink = exp(highest - top);
    highest = top;
    sum *= shrink;
    //#repeat l 0..8*TILES
    let p{l} = select(exp(s{l} - top), 0.0, s{l} == HIDDEN);
    sum += p{l};
    //#end
    //#repeat t 0..2*TILES
    let kept{t} = kept_of(lse_at + query, key / 4u + {t}u);
    //#repeat l 4*t..4*t+4
    let w{l} = p{l} * kept{t}[{l-4*t}];
    //#end
    //#end
    for (var i = 0u; i < d4; i++) {
      var x = shrink * o_row[i];
      //#repeat t 0..TILES
      let y{t} = load_v(v_at + mine{t} * params.v_time, i);
      //#repeat l 8*t..8*t+8
      x += w{l} * subgroupBroadcast(y{t}, {l - 8*t}u);
      //#end
      //#end
      o_row[i] = x;
    }
  }
  if (row < params.queries) {
    let o_at = b * params.o_batch + h * params.o_head + row * params.o_time;
    let share = select(0.0, 1.0 / sum, sum > 0.0);
    for (var i = 0u; i < d4; i++) {
      store_o(o_at, i, share * o_row[i]);
    }
    var infinity = 0x7f800000u;
    let log_sum = select(bitcast<f32>(infinity), highest + log(sum), sum > 0.0);
    lse[lse_at + row] = log_sum;
  }
}
