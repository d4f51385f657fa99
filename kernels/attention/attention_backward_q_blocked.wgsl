var<workgroup> tile_q: array<Tile, OWN * STRIDE>;
var<workgroup> tile_g: array<Tile, OWN * STRIDE>; // of d_o
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
  // The last queries see the most keys, so they begin first.
  let first_row = (groups.x - 1u - group.x) * OWN;
  let place = place_of(index);
  let x = place.x;
  let y = place.y;
  let q_at = params.q_start + b * params.q_batch + h * params.q_head;
  let o_at = b * params.o_batch + h * params.o_head;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  let lse_at = (b * params.heads + h) * params.queries;
  let delta_at = params.batch * params.heads * params.queries + lse_at;
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let query = min(first_row + e / u32(D4), params.queries - 1u);
    let at = e / u32(D4) * STRIDE + e % u32(D4);
    tile_q[at] = Tile(load_q(q_at + query * params.q_time, e % u32(D4)));
    tile_g[at] = Tile(load_d_o(o_at + query * params.o_time, e % u32(D4)));
  }
  var delta = vec4f();
  var log_sum = vec4f();
  //#repeat i 0..4
  let row{i} = min(first_row + 4u * y + {i}u, params.queries - 1u);
  let seen{i} = keys_seen(b, params.position + i32(row{i}));
  log_sum[{i}] = lse[lse_at + row{i}];
  for (var c = x; c < u32(D4); c += 8u) {
    let at = o_at + row{i} * params.o_time;
    delta[{i}] += dot(load_d_o(at, c), load_o(at, c));
  }
  //#end
  parts[x * OWN4 + y] = delta;
  workgroupBarrier();
  delta = vec4f();
  //#repeat l 0..8
  delta += parts[{l}u * OWN4 + y];
  //#end
  // The keys that the own rows may see, and those that any row of the workgroup may see.
  let from_key = vec4u(seen0.x, seen1.x, seen2.x, seen3.x);
  let to_key = vec4u(seen0.y, seen1.y, seen2.y, seen3.y);
  let begin = first_key(b, params.position + i32(first_row));
  let end = keys_seen(b, params.position + i32(min(first_row + OWN, params.queries)) - 1).y;
  //#repeat i 0..4
  //#repeat c 0..COLUMNS
  var d{i}_{c} = vec4f();
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
    var t{j} = vec4f();
    //#end
    for (var c = 0u; c < u32(D4); c++) {
      //#repeat i 0..4
      let q{i} = vec4f(tile_q[(4u * y + {i}u) * STRIDE + c]);
      let g{i} = vec4f(tile_g[(4u * y + {i}u) * STRIDE + c]);
      //#end
      let q = transpose(mat4x4f(q0, q1, q2, q3));
      let g = transpose(mat4x4f(g0, g1, g2, g3));
      //#repeat j 0..OTHERS
      let k{j} = vec4f(tile_k[(x + {8*j}u) * STRIDE + c]);
      let v{j} = vec4f(tile_v[(x + {8*j}u) * STRIDE + c]);
      s{j} += k{j}.x * q[0] + k{j}.y * q[1] + k{j}.z * q[2] + k{j}.w * q[3];
      t{j} += v{j}.x * g[0] + v{j}.y * g[1] + v{j}.z * g[2] + v{j}.w * g[3];
      //#end
    }
    //#repeat j 0..OTHERS
    let key{j} = first + x + {8*j}u;
    let shown{j} = may_be_seen(b, key{j});
    weights[(x + {8*j}u) * W_STRIDE + y] = select(
      vec4f(),
      exp(params.scale * s{j} - log_sum) * (t{j} * drawn_factors(x + {8*j}u, y) - delta),
      (vec4u(key{j}) >= from_key) & (vec4u(key{j}) < to_key) & vec4<bool>(shown{j}),
    );
    //#end
    workgroupBarrier();
    for (var l = 0u; l < OTHER; l += 4u) {
      //#repeat u 0..4
      {
        let w = weights[(l + {u}u) * W_STRIDE + y];
        //#repeat c 0..COLUMNS
        let z{c} = vec4f(tile_k[(l + {u}u) * STRIDE + x + {8*c}u]);
        //#end
        //#repeat i 0..4
        //#repeat c 0..COLUMNS
        d{i}_{c} += w[{i}] * z{c};
        //#end
        //#end
      }
      //#end
    }
  }
  //#repeat i 0..4
  if (first_row + 4u * y + {i}u < params.queries) {
    //#repeat c 0..COLUMNS
    if (x + {8*c}u < u32(D4)) {
      store_d_q(q_at + row{i} * params.q_time, x + {8*c}u, params.scale * d{i}_{c});
    }
    //#end
    if (x == 0u) {
      lse[delta_at + row{i}] = delta[{i}];
    }
  }
  //#end
}
