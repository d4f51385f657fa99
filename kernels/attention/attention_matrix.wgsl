// What the programs for GPUs with matrix units share (see matmul_matrix.wgsl): f16 in, sums in f32. A workgroup owns
// OWN rows (queries, or keys in attention_backward_kv), 16 per subgroup, and iterates over the other side, OTHER rows
// at a time. Products of own and other rows pass through workgroup memory, where two invocations share a row.
const OWN = 64u; // 16 for each subgroup
const OTHER = 32u;
const THREADS = 128u; // 2 * OWN
const D16 = 4; // D / 16
const OTHER16 = 2; // OTHER / 16
const EIGHTHS = 4; // OTHER / 8: vec4 of scores per invocation
const STRIDE = 18u; // the stride of a tile in vec4: D / 4 and padding

const S_STRIDE = OTHER / 4u + 1u;
const W_STRIDE = OTHER / 4u + 2u;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> tile_own: array<vec4<f16>, OWN * STRIDE>;
var<workgroup> scores: array<vec4f, OWN * S_STRIDE>; // [own row][other row / 4]

fn may_be_seen_each(b: u32, key: vec4u) -> vec4<bool> {
  return vec4<bool>(may_be_seen(b, key.x), may_be_seen(b, key.y), may_be_seen(b, key.z), may_be_seen(b, key.w));
}
