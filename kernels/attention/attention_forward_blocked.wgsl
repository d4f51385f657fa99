var<workgroup> tile_q: array<Tile, OWN * STRIDE>;
var<workgroup> tile_k: array<Tile, OTHER * STRIDE>;
var<workgroup> tile_v: array<Tile, OTHER * STRIDE>;
var<workgroup> parts: array<vec4f, 8u * OWN4>; // [x][own row / 4]

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
  let place = place_of(index);
  let x = place.x;
  let y = place.y;
  let q_at = params.q_start + b * params.q_batch + h * params.q_head;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let query = min(first_row + e / u32(D4), params.queries - 1u);
    tile_q[e / u32(D4) * STRIDE + e % u32(D4)] = Tile(load_q(q_at + query * params.q_time, e % u32(D4)));
  }
  let position = first_position(b);
  // The keys that the own rows may see, and those that any row of the workgroup may see.
  //#repeat i 0..4
  let seen{i} = keys_seen(b, position + i32(min(first_row + 4u * y + {i}u, params.queries - 1u)));
  //#end
  let from_key = vec4u(seen0.x, seen1.x, seen2.x, seen3.x);
  let to_key = vec4u(seen0.y, seen1.y, seen2.y, seen3.y);
  let begin = first_key(b, position + i32(first_row));
  let end = keys_seen(b, position + i32(min(first_row + OWN, params.queries)) - 1).y;
  var highest = vec4f(HIDDEN);
  var sum = vec4f(); // over the keys of this invocation
  //#repeat i 0..4
  //#repeat c 0..COLUMNS
  var o{i}_{c} = vec4f();
  //#end
  //#end
  for (var first = begin; first < end; first += OTHER) {
    workgroupBarrier();
    for (var e = index; e < OTHER * u32(D4); e += THREADS) {
      let key = min(first + e / u32(D4), params.keys - 1u);
      let at = e / u32(D4) * STRIDE + e % u32(D4);
      tile_k[at] = Tile(load_k(k_at + key * params.k_time, e % u32(D4)));
      tile_v[at] = Tile(load_v(v_at + key * params.v_time, e % u32(D4)));
    }
    draw_kept(lse_at + first_row, first / 4u, place);
    workgroupBarrier();
    //#repeat j 0..OTHERS
    var s{j} = vec4f();
    //#end
    for (var c = 0u; c < u32(D4); c++) {
      //#repeat i 0..4
      let q{i} = vec4f(tile_q[(4u * y + {i}u) * STRIDE + c]);
      //#end
      let q = transpose(mat4x4f(q0, q1, q2, q3));
      //#repeat j 0..OTHERS
      let k{j} = vec4f(tile_k[(x + {8*j}u) * STRIDE + c]);
      //#end
      //#repeat j 0..OTHERS
      s{j} += k{j}.x * q[0] + k{j}.y * q[1] + k{j}.z * q[2] + k{j}.w * q[3];
      //#end
    }
    var top = highest;
    //#repeat j 0..OTHERS
    let key{j} = first + x + {8*j}u;
    let shown{j} = may_be_seen(b, key{j});
    s{j} = select(
      vec4f(HIDDEN),
      params.scale * s{j},
      (vec4u(key{j}) >= from_key) & (vec4u(key{j}) < to_key) & vec4<bool>(shown{j}),
    );
    top = max(top, s{j});
    //#end
    parts[x * OWN4 + y] = top;
    workgroupBarrier();
    //#repeat l 0..8
    top = max(top, parts[{l}u * OWN4 + y]);
    //#end
    let shrink = exp(highest - top);
    highest = top;
    sum *= shrink;
    //#repeat j 0..OTHERS
    let p{j} = select(exp(s{j} - top), vec4f(), s{j} == vec4f(HIDDEN));
    sum += p{j};
    weights[(x + {8*j}u) * W_STRIDE + y] = p{j} * drawn_factors(x + {8*j}u, y);
    //#end
    workgroupBarrier();
    //#repeat i 0..4
    //#repeat c 0..COLUMNS
    o{i}_{c} *= shrink[{i}];
    //#end
    //#end
    for (var l = 0u; l < OTHER; l += 4u) {
      //#repeat u 0..4
      {
        let w = weights[(l + {u}u) * W_STRIDE + y];
        //#repeat c 0..COLUMNS
        let v{c} = vec4f(tile_v[(l + {u}u) * STRIDE + x + {8*c}u]);
        //#end
        //#repeat i 0..4
        //#repeat c 0..COLUMNS
        o{i}_{c} += w[{i}] * v{c};
        //#end
        //#end
      }
      //#end
    }
  }
  workgroupBarrier();
  parts[x * OWN4 + y] = sum;
  workgroupBarrier();
  var total = vec4f();
  //#repeat l 0..8
  total += parts[{l}u * OWN4 + y];
  //#end
  // A row that saw no key is 0; its infinite sum makes its weights 0 in the backward pass.
  let share = select(vec4f(), 1.0 / total, total > vec4f());
  var infinity = 0x7f800000u;
  let log_sum = select(vec4f(bitcast<f32>(infinity)), highest + log(total), total > vec4f());
  let o_at = b * params.o_batch + h * params.o_head;
  //#repeat i 0..4
  {
    let row = first_row + 4u * y + {i}u;
    if (row < params.queries) {
      //#repeat c 0..COLUMNS
      if (x + {8*c}u < u32(D4)) {
        store_o(o_at + row * params.o_time, x + {8*c}u, share[{i}] * o{i}_{c});
      }
      //#end
      if (x == 0u) {
        lse[lse_at + row] = log_sum[{i}];
      }
    }
  }
  //#end
}
