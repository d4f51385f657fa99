// For GPUs when a sequence has few queries, as in decoding (see attention.wgsl): a workgroup owns one query of one
// head. Each invocation first scores a key, then sums four elements of the values over a part of the keys.
const PARTS = 64u / u32(D4);

var<workgroup> weights: array<f32, 64>;
var<workgroup> sums: array<vec4f, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let h = group.y;
  let b = group.z;
  let kv_head = h / (params.heads / params.kv_heads);
  let lse_at = (b * params.heads + h) * params.queries;
  let query = group.x;
  let q_at = params.q_start + b * params.q_batch + h * params.q_head + query * params.q_time;
  let k_at = params.k_start + b * params.k_batch + kv_head * params.k_head;
  let v_at = params.v_start + b * params.v_batch + kv_head * params.v_head;
  let seen = keys_seen(b, first_position(b) + i32(query));
  let part = index / u32(D4);
  let column = index % u32(D4);
  var mixed = vec4f();
  var highest = HIDDEN;
  var sum = 0.0;
  for (var first = seen.x; first < seen.y; first += 64u) {
    let key = first + index;
    var score = HIDDEN;
    if (key < seen.y && may_be_seen(b, key)) {
      score = 0.0;
      for (var i = 0u; i < u32(D4); i++) {
        score += dot(load_q(q_at, i), load_k(k_at + key * params.k_time, i));
      }
      score *= params.scale;
    }
    weights[index] = score;
    workgroupBarrier();
    var top = highest;
    //#repeat l 0..64
    top = max(top, weights[{l}u]);
    //#end
    workgroupBarrier();
    weights[index] = select(exp(score - top), 0.0, score == HIDDEN);
    workgroupBarrier();
    let shrink = exp(highest - top);
    highest = top;
    sum *= shrink;
    //#repeat l 0..64
    sum += weights[{l}u];
    //#end
    mixed *= shrink;
    if (part < PARTS) {
      for (var l = part; l < 64u && first + l < seen.y; l += PARTS) {
        mixed += weights[l] * load_v(v_at + (first + l) * params.v_time, column);
      }
    }
    workgroupBarrier();
  }
  sums[index] = mixed;
  workgroupBarrier();
  if (index < u32(D4)) {
    for (var p = 1u; p < PARTS; p++) {
      mixed += sums[p * u32(D4) + index];
    }
    let share = select(0.0, 1.0 / sum, sum > 0.0);
    let o_at = b * params.o_batch + h * params.o_head + query * params.o_time;
    store_o(o_at, index, share * mixed);
  }
  if (index == 0u) {
    var infinity = 0x7f800000u;
    let log_sum = select(bitcast<f32>(infinity), highest + log(sum), sum > 0.0);
    lse[lse_at + query] = log_sum;
  }
}
