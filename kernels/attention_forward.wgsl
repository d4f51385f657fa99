// o = softmax(scale q k^T + mask) v without the T x T matrix (FlashAttention-2, Dao 2023): the maximum and the sum of
// exponentials of a row are kept up to date while the keys pass by.
@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> v: array<Element>;
@group(0) @binding(3) var<storage, read> key_valid: array<V>;
@group(0) @binding(4) var<storage, read_write> o: array<Element>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

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
fn store_o(at: u32, i: u32, value: vec4f) {
  o[at / 4u + i] = vec4<T>(value);
}
//#end
//#repeat on 0..SCALAR
fn store_o(at: u32, i: u32, value: vec4f) {
  var values = value;
  for (var c = 0u; c < 4u && 4u * i + c < D; c++) {
    o[at + 4u * i + c] = T(values[c]);
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
  // Rows past the end keep the others company: all invocations must meet at the barriers.
  let query = min(row, params.queries - 1u);
  let q_at = b * params.q_batch + h * params.q_head + query * params.q_time;
  let k_at = b * params.k_batch + kv_head * params.k_head;
  let v_at = b * params.v_batch + kv_head * params.v_head;
  let valid_at = b * params.keys;
  //#repeat i 0..D4
  let q{i} = params.scale * load_q(q_at, {i}u);
  var o{i} = vec4f();
  //#end
  var highest = HIDDEN;
  var sum = 0.0;
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
      //#end
      //#repeat i 0..D4
      {
        //#repeat on 0..SUBGROUP
        let mine_i = load_k(k_at + mine * params.k_time, {i}u);
        //#end
        //#repeat l 0..8
        //#repeat on 0..SUBGROUP
        s{l} += dot(q{i}, subgroupBroadcast(mine_i, {l}u));
        //#end
        //#repeat on 0..TILED
        s{l} += dot(q{i}, tile_k[(step + {l}u) * u32(D4) + {i}u]);
        //#end
        //#end
      }
      //#end
      var top = highest;
      //#repeat l 0..8
      s{l} = select(HIDDEN, s{l}, shown{l} && in_sight(query, key + {l}u));
      top = max(top, s{l});
      //#end
      let shrink = exp(highest - top);
      highest = top;
      sum *= shrink;
      //#repeat l 0..8
      let p{l} = select(exp(s{l} - top), 0.0, s{l} == HIDDEN);
      sum += p{l};
      //#end
      //#repeat i 0..D4
      {
        //#repeat on 0..SUBGROUP
        let mine_i = load_v(v_at + mine * params.v_time, {i}u);
        //#end
        o{i} *= shrink;
        //#repeat l 0..8
        //#repeat on 0..SUBGROUP
        o{i} += p{l} * subgroupBroadcast(mine_i, {l}u);
        //#end
        //#repeat on 0..TILED
        o{i} += p{l} * tile_v[(step + {l}u) * u32(D4) + {i}u];
        //#end
        //#end
      }
      //#end
    }
  }
  if (row < params.queries) {
    let o_at = b * params.o_batch + h * params.o_head + row * params.o_time;
    // A row that saw no key is 0, and its infinite sum makes its weights 0 in the backward pass.
    let share = select(0.0, 1.0 / sum, sum > 0.0);
    //#repeat i 0..D4
    store_o(o_at, {i}u, share * o{i});
    //#end
    var infinity = 0x7f800000u;
    let stat = select(bitcast<f32>(infinity), highest + log(sum), sum > 0.0);
    stats[group.y * params.queries + row] = stat;
  }
}
