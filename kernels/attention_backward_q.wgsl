// dq, and delta = sum(o do) of every row for attention_backward_kv: weights are computed again from the saved logs of
// sums, stats (2, batch, heads, queries), which holds those in its first half and delta in its second.
@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> v: array<Element>;
@group(0) @binding(3) var<storage, read> o: array<Element>;
@group(0) @binding(4) var<storage, read> grad_o: array<Element>;
@group(0) @binding(5) var<storage, read> key_valid: array<V>;
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;
@group(0) @binding(7) var<storage, read_write> grad_q: array<Element>;
@group(0) @binding(8) var<uniform> params: Params;

//#repeat on 0..TILED
var<workgroup> tile_k: array<vec4f, TILE_VECTORS>;
var<workgroup> tile_v: array<vec4f, TILE_VECTORS>;
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
fn load_o(at: u32, i: u32) -> vec4f {
  return vec4f(o[at / 4u + i]);
}
//#end
//#repeat on 0..SCALAR
fn load_o(at: u32, i: u32) -> vec4f {
  let j = at + 4u * i;
  let value = vec4f(f32(o[j]), f32(o[j + 1u]), f32(o[j + 2u]), f32(o[j + 3u]));
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
fn store_grad_q(at: u32, i: u32, value: vec4f) {
  grad_q[at / 4u + i] = vec4<T>(value);
}
//#end
//#repeat on 0..SCALAR
fn store_grad_q(at: u32, i: u32, value: vec4f) {
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    grad_q[at + 4u * i + c] = T(values[c]);
  }
}
//#end

@compute @workgroup_size(ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let b = group.y / params.heads;
  let h = group.y % params.heads;
  let kv_head = h / (params.heads / params.kv_heads);
  let row = group.x * ROWS + index;
  let query = min(row, params.queries - 1u);
  let q_at = b * params.q_batch + h * params.q_head + query * params.q_time;
  let o_at = b * params.o_batch + h * params.o_head + query * params.o_time;
  let k_at = b * params.k_batch + kv_head * params.k_head;
  let v_at = b * params.v_batch + kv_head * params.v_head;
  let valid_at = b * params.keys;
  let stat_at = group.y * params.queries + query;
  let log_sum = stats[stat_at];
  var delta = 0.0;
  //#repeat i 0..D4
  let q{i} = params.scale * load_q(q_at, {i}u);
  let g{i} = load_grad_o(o_at, {i}u);
  delta += dot(g{i}, load_o(o_at, {i}u));
  var d{i} = vec4f();
  //#end
  // The keys that some row of the workgroup may see.
  let last = min(group.x * ROWS + ROWS, params.queries) + params.keys;
  let end = select(params.keys, max(last, params.queries) - params.queries, CAUSAL);
  for (var first = 0u; first < end; first += TILE) {
    //#repeat on 0..TILED
    workgroupBarrier();
    for (var e = index; e < u32(TILE_VECTORS); e += ROWS) {
      let key = min(first + e / u32(D4), params.keys - 1u);
      tile_k[e] = load_k(k_at + key * params.k_time, e % u32(D4));
      tile_v[e] = load_v(v_at + key * params.v_time, e % u32(D4));
    }
    workgroupBarrier();
    for (var step = 0u; step < TILE && first + step < end; step += 8u) {
      let key = first + step;
      //#repeat l 0..8
      let shown{l} = !MASKED || key_valid[valid_at + min(key + {l}u, params.keys - 1u)] != 0;
      //#end
    //#end
    //#repeat on 0..SUBGROUP
    {
      let key = first;
      let mine = min(key + index, params.keys - 1u);
      let shown = u32(!MASKED || key_valid[valid_at + mine] != 0);
      //#repeat l 0..8
      let shown{l} = subgroupBroadcast(shown, {l}u) != 0u;
      //#end
    //#end
      //#repeat l 0..8
      var s{l} = 0.0;
      var t{l} = -delta;
      //#end
      //#repeat i 0..D4
      //#repeat on 0..SUBGROUP
      let k{i} = load_k(k_at + mine * params.k_time, {i}u);
      let v{i} = load_v(v_at + mine * params.v_time, {i}u);
      //#end
      //#repeat l 0..8
      //#repeat on 0..SUBGROUP
      s{l} += dot(q{i}, subgroupBroadcast(k{i}, {l}u));
      t{l} += dot(g{i}, subgroupBroadcast(v{i}, {l}u));
      //#end
      //#repeat on 0..TILED
      s{l} += dot(q{i}, tile_k[(step + {l}u) * u32(D4) + {i}u]);
      t{l} += dot(g{i}, tile_v[(step + {l}u) * u32(D4) + {i}u]);
      //#end
      //#end
      //#end
      //#repeat l 0..8
      let seen{l} = shown{l} && in_sight(query, key + {l}u);
      let w{l} = select(0.0, exp(s{l} - log_sum) * t{l}, seen{l});
      //#end
      //#repeat i 0..D4
      //#repeat l 0..8
      //#repeat on 0..SUBGROUP
      d{i} += w{l} * subgroupBroadcast(k{i}, {l}u);
      //#end
      //#repeat on 0..TILED
      d{i} += w{l} * tile_k[(step + {l}u) * u32(D4) + {i}u];
      //#end
      //#end
      //#end
    }
  }
  if (row < params.queries) {
    stats[params.batch * params.heads * params.queries + stat_at] = delta;
    //#repeat i 0..D4
    store_grad_q(q_at, {i}u, params.scale * d{i});
    //#end
  }
}
