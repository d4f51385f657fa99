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
  let lse_at = (b * params.heads + h) * params.queries;
  let row = group.x * ROWS + index;
  // Rows past the end take part too, since all invocations must reach the barriers.
  let query = min(row, params.queries - 1u);
  let q_at = params.q_start + b * params.q_batch + h * params.q_head + query * params.q_time;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  //#repeat i 0..D4
  let q{i} = params.scale * load_q(q_at, {i}u);
  var o{i} = vec4f();
  //#end
  var highest = HIDDEN;
  var sum = 0.0;
  let position = first_position(b);
  // The keys that this row may see, and those that any row of the workgroup may see.
  let seen = keys_seen(b, position + i32(query));
  let begin = first_key(b, position + i32(group.x * ROWS));
  let end = keys_seen(b, position + i32(min(group.x * ROWS + ROWS, params.queries)) - 1).y;
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
      //#end
      //#repeat i 0..D4
      {
        //#repeat l 0..8
        s{l} += dot(q{i}, tile_k[(step + {l}u) * u32(D4) + {i}u]);
        //#end
      }
      //#end
      var top = highest;
      //#repeat l 0..8
      s{l} = select(HIDDEN, s{l}, shown{l} && within(key + {l}u, seen));
      top = max(top, s{l});
      //#end
      let shrink = exp(highest - top);
      highest = top;
      sum *= shrink;
      //#repeat l 0..8
      let p{l} = select(exp(s{l} - top), 0.0, s{l} == HIDDEN);
      sum += p{l};
      //#end
      //#repeat t 0..2
      let kept{t} = kept_of(lse_at + query, key / 4u + {t}u);
      //#repeat l 4*t..4*t+4
      let w{l} = p{l} * kept{t}[{l-4*t}];
      //#end
      //#end
      //#repeat i 0..D4
      {
        o{i} *= shrink;
        //#repeat l 0..8
        o{i} += w{l} * tile_v[(step + {l}u) * u32(D4) + {i}u];
        //#end
      }
      //#end
    }
  }
  if (row < params.queries) {
    let o_at = b * params.o_batch + h * params.o_head + row * params.o_time;
    // A row that saw no key is 0; its infinite sum makes its weights 0 in the backward pass.
    let share = select(0.0, 1.0 / sum, sum > 0.0);
    //#repeat i 0..D4
    store_o(o_at, {i}u, share * o{i});
    //#end
    var infinity = 0x7f800000u;
    let log_sum = select(bitcast<f32>(infinity), highest + log(sum), sum > 0.0);
    lse[lse_at + row] = log_sum;
  }
}
