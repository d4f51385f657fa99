var<workgroup> tile_k: array<Tile, OWN * STRIDE>;
var<workgroup> tile_v: array<Tile, OWN * STRIDE>;
var<workgroup> tile_q: array<Tile, OTHER * STRIDE>;
var<workgroup> tile_g: array<Tile, OTHER * STRIDE>; // of d_o
var<workgroup> slopes: array<vec4f, OTHER * W_STRIDE>; // gradients of the scores, in the layout of the weights

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let kv_head = group.y;
  let b = group.z;
  let share = params.heads / params.kv_heads;
  let first_row = group.x * OWN;
  let place = place_of(index);
  let x = place.x;
  let y = place.y;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  for (var e = index; e < OWN * u32(D4); e += THREADS) {
    let key = min(first_row + e / u32(D4), params.keys - 1u);
    let at = e / u32(D4) * STRIDE + e % u32(D4);
    tile_k[at] = Tile(load_k(k_at + key * params.k_time, e % u32(D4)));
    tile_v[at] = Tile(load_v(v_at + key * params.v_time, e % u32(D4)));
  }
  //#repeat i 0..4
  let key{i} = min(first_row + 4u * y + {i}u, params.keys - 1u);
  let seeing{i} = queries_seeing(b, key{i});
  let shown{i} = may_be_seen(b, key{i});
  //#repeat c 0..COLUMNS
  var dk{i}_{c} = vec4f();
  var dv{i}_{c} = vec4f();
  //#end
  //#end
  // The queries that see the own keys, and those that see any key of the workgroup.
  let from_query = vec4u(seeing0.x, seeing1.x, seeing2.x, seeing3.x);
  let to_query = vec4u(seeing0.y, seeing1.y, seeing2.y, seeing3.y);
  let shown = vec4<bool>(shown0, shown1, shown2, shown3);
  let begin = queries_seeing(b, first_row).x;
  let end = queries_seeing(b, min(first_row + OWN, params.keys) - 1u).y;
  for (var h = kv_head * share; h < (kv_head + 1u) * share; h++) {
    let q_at = params.q_start + b * params.q_batch + h * params.q_head;
    let g_at = b * params.o_batch + h * params.o_head;
    let lse_at = (b * params.heads + h) * params.queries;
    let delta_at = params.batch * params.heads * params.queries + lse_at;
    for (var first = begin; first < end; first += OTHER) {
      workgroupBarrier();
      for (var e = index; e < OTHER * u32(D4); e += THREADS) {
        let query = min(first + e / u32(D4), params.queries - 1u);
        let at = e / u32(D4) * STRIDE + e % u32(D4);
        tile_q[at] = Tile(load_q(q_at + query * params.q_time, e % u32(D4)));
        tile_g[at] = Tile(load_d_o(g_at + query * params.o_time, e % u32(D4)));
      }
      workgroupBarrier();
      //#repeat j 0..OTHERS
      var s{j} = vec4f();
      var t{j} = vec4f();
      //#end
      for (var c = 0u; c < u32(D4); c++) {
        //#repeat i 0..4
        let k{i} = vec4f(tile_k[(4u * y + {i}u) * STRIDE + c]);
        let v{i} = vec4f(tile_v[(4u * y + {i}u) * STRIDE + c]);
        //#end
        let k = transpose(mat4x4f(k0, k1, k2, k3));
        let v = transpose(mat4x4f(v0, v1, v2, v3));
        //#repeat j 0..OTHERS
        let q{j} = vec4f(tile_q[(x + {8*j}u) * STRIDE + c]);
        let g{j} = vec4f(tile_g[(x + {8*j}u) * STRIDE + c]);
        s{j} += q{j}.x * k[0] + q{j}.y * k[1] + q{j}.z * k[2] + q{j}.w * k[3];
        t{j} += g{j}.x * v[0] + g{j}.y * v[1] + g{j}.z * v[2] + g{j}.w * v[3];
        //#end
      }
      //#repeat j 0..OTHERS
      let query{j} = first + x + {8*j}u;
      let row{j} = min(query{j}, params.queries - 1u);
      let p{j} = select(
        vec4f(),
        exp(params.scale * s{j} - lse[lse_at + row{j}]),
        (vec4u(query{j}) >= from_query) & (vec4u(query{j}) < to_query) & shown,
      );
      let kept{j} = kept_of(lse_at + row{j}, first_row / 4u + y);
      weights[(x + {8*j}u) * W_STRIDE + y] = p{j} * kept{j};
      slopes[(x + {8*j}u) * W_STRIDE + y] = p{j} * (t{j} * kept{j} - lse[delta_at + row{j}]);
      //#end
      workgroupBarrier();
      for (var l = 0u; l < OTHER; l += 4u) {
        //#repeat u 0..4
        {
          let w = weights[(l + {u}u) * W_STRIDE + y];
          let u = slopes[(l + {u}u) * W_STRIDE + y];
          //#repeat c 0..COLUMNS
          let g{c} = vec4f(tile_g[(l + {u}u) * STRIDE + x + {8*c}u]);
          let q{c} = vec4f(tile_q[(l + {u}u) * STRIDE + x + {8*c}u]);
          //#end
          //#repeat i 0..4
          //#repeat c 0..COLUMNS
          dv{i}_{c} += w[{i}] * g{c};
          dk{i}_{c} += u[{i}] * q{c};
          //#end
          //#end
        }
        //#end
      }
    }
  }
  //#repeat i 0..4
  if (first_row + 4u * y + {i}u < params.keys) {
    //#repeat c 0..COLUMNS
    if (x + {8*c}u < u32(D4)) {
      store_d_k(k_at + key{i} * params.k_time, x + {8*c}u, params.scale * dk{i}_{c});
      store_d_v(v_at + key{i} * params.v_time, x + {8*c}u, dv{i}_{c});
    }
    //#end
  }
  //#end
}
