// dk and dv: an invocation owns a key, and the queries of all heads that use it pass by, so that nothing is added up by
// two. stats (2, batch, heads, queries) comes from attention_backward_q.
@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> v: array<Element>;
@group(0) @binding(3) var<storage, read> grad_o: array<Element>;
@group(0) @binding(4) var<storage, read> key_valid: array<V>;
@group(0) @binding(5) var<storage, read> stats: array<f32>;
@group(0) @binding(6) var<storage, read_write> grad_k: array<Element>;
@group(0) @binding(7) var<storage, read_write> grad_v: array<Element>;
@group(0) @binding(8) var<uniform> params: Params;

//#repeat on 0..TILED
var<workgroup> tile_q: array<vec4f, TILE_VECTORS>;
var<workgroup> tile_g: array<vec4f, TILE_VECTORS>;
//#end

//#repeat on 0..VECTOR
fn load_q(at: u32, i: u32) -> vec4f {
  return vec4f(q[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_q(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(q[j]), f32(q[j + 1u]), f32(q[j + 2u]), f32(q[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn load_k(at: u32, i: u32) -> vec4f {
  return vec4f(k[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_k(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(k[j]), f32(k[j + 1u]), f32(k[j + 2u]), f32(k[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn load_v(at: u32, i: u32) -> vec4f {
  return vec4f(v[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_v(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(v[j]), f32(v[j + 1u]), f32(v[j + 2u]), f32(v[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn load_grad_o(at: u32, i: u32) -> vec4f {
  return vec4f(grad_o[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_grad_o(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(grad_o[j]), f32(grad_o[j + 1u]), f32(grad_o[j + 2u]), f32(grad_o[j + 3u]));
  return select(vec4f(), value, inside(i));
}
//#end

//#repeat on 0..VECTOR
fn store_grad_k(at: u32, i: u32, value: vec4f) {
  grad_k[at / 4u + i] = vec4<T>(value);
}
//#end
//#repeat on 0..SCALAR
fn store_grad_k(at: u32, i: u32, value: vec4f) {
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    grad_k[at + 4u * i + c] = T(values[c]);
  }
}
//#end

//#repeat on 0..VECTOR
fn store_grad_v(at: u32, i: u32, value: vec4f) {
  grad_v[at / 4u + i] = vec4<T>(value);
}
//#end
//#repeat on 0..SCALAR
fn store_grad_v(at: u32, i: u32, value: vec4f) {
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    grad_v[at + 4u * i + c] = T(values[c]);
  }
}
//#end

@compute @workgroup_size(ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let b = group.y / params.kv_heads;
  let kv_head = group.y % params.kv_heads;
  let share = params.heads / params.kv_heads;
  let row = group.x * ROWS + index;
  let key = min(row, params.keys - 1u);
  let k_at = b * params.k_batch + kv_head * params.k_head + key * params.k_time;
  let v_at = b * params.v_batch + kv_head * params.v_head + key * params.v_time;
  let shown = !MASKED || key_valid[b * params.keys + key] != 0;
  //#repeat i 0..D4
  let k{i} = params.scale * load_k(k_at, {i}u);
  let v{i} = load_v(v_at, {i}u);
  var dk{i} = vec4f();
  var dv{i} = vec4f();
  //#end
  // The first query that sees some key of the workgroup, from a whole 8 on.
  let ahead = group.x * ROWS + params.queries;
  let begin = select(0u, (max(ahead, params.keys) - params.keys) / 8u * 8u, CAUSAL);
  for (var h = kv_head * share; h < (kv_head + 1u) * share; h++) {
    let q_at = b * params.q_batch + h * params.q_head;
    let g_at = b * params.o_batch + h * params.o_head;
    let stat_at = (b * params.heads + h) * params.queries;
    let delta_at = params.batch * params.heads * params.queries + stat_at;
    for (var first = begin; first < params.queries; first += TILE) {
      //#repeat on 0..TILED
      workgroupBarrier();
      for (var e = index; e < u32(TILE_VECTORS); e += ROWS) {
        let query = min(first + e / u32(D4), params.queries - 1u);
        tile_q[e] = load_q(q_at + query * params.q_time, e % u32(D4));
        tile_g[e] = load_grad_o(g_at + query * params.o_time, e % u32(D4));
      }
      workgroupBarrier();
      for (var step = 0u; step < TILE && first + step < params.queries; step += 8u) {
        let query = first + step;
        //#repeat l 0..8
        let log_sum{l} = stats[stat_at + min(query + {l}u, params.queries - 1u)];
        let delta{l} = stats[delta_at + min(query + {l}u, params.queries - 1u)];
        //#end
      //#end
      //#repeat on 0..SUBGROUP
      {
        let query = first;
        let mine = min(query + index, params.queries - 1u);
        let log_sum = stats[stat_at + mine];
        let delta = stats[delta_at + mine];
        //#repeat l 0..8
        let log_sum{l} = subgroupBroadcast(log_sum, {l}u);
        let delta{l} = subgroupBroadcast(delta, {l}u);
        //#end
      //#end
        //#repeat l 0..8
        var s{l} = 0.0;
        var t{l} = -delta{l};
        //#end
        //#repeat i 0..D4
        //#repeat on 0..SUBGROUP
        let q{i} = load_q(q_at + mine * params.q_time, {i}u);
        let g{i} = load_grad_o(g_at + mine * params.o_time, {i}u);
        //#end
        //#repeat l 0..8
        //#repeat on 0..SUBGROUP
        s{l} += dot(k{i}, subgroupBroadcast(q{i}, {l}u));
        t{l} += dot(v{i}, subgroupBroadcast(g{i}, {l}u));
        //#end
        //#repeat on 0..TILED
        s{l} += dot(k{i}, tile_q[(step + {l}u) * u32(D4) + {i}u]);
        t{l} += dot(v{i}, tile_g[(step + {l}u) * u32(D4) + {i}u]);
        //#end
        //#end
        //#end
        //#repeat l 0..8
        let seen{l} = shown && query + {l}u < params.queries && in_sight(query + {l}u, key);
        let p{l} = select(0.0, exp(s{l} - log_sum{l}), seen{l});
        let w{l} = p{l} * t{l};
        //#end
        //#repeat i 0..D4
        //#repeat l 0..8
        //#repeat on 0..SUBGROUP
        dk{i} += w{l} * subgroupBroadcast(q{i}, {l}u);
        dv{i} += p{l} * subgroupBroadcast(g{i}, {l}u);
        //#end
        //#repeat on 0..TILED
        dk{i} += w{l} * tile_q[(step + {l}u) * u32(D4) + {i}u];
        dv{i} += p{l} * tile_g[(step + {l}u) * u32(D4) + {i}u];
        //#end
        //#end
        //#end
      }
    }
  }
  if (row < params.keys) {
    //#repeat i 0..D4
    store_grad_k(k_at, {i}u, params.scale * dk{i});
    store_grad_v(v_at, {i}u, dv{i});
    //#end
  }
}
