// For GPUs: 256 invocations compute 128 x 128 of C, each 8 x 8 in 16 vec4 accumulators, from tiles of A and B in
// workgroup memory, 16 long in k. Tiles of A are stored by columns, so that both operands of one k are read in vec4.
// Half of the invocations load A, the others B.
const PADDING = 1u; // vec4 after each row of a tile, so that rows begin in different banks

const STRIDE = 32u + PADDING; // the stride of a tile along k, in vec4

var<workgroup> as_: array<array<vec4f, STRIDE>, 16>; // [k][row / 4]
var<workgroup> bs: array<array<vec4f, STRIDE>, 16>; // [k][column / 4]

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let start = starts(group.z);
  let first_row = group.y * 128u;
  let first_column = group.x * 128u;
  // A subgroup of 32 computes 32 x 64. Adjacent invocations read the same part of B and those two apart the same of
  // A, which should let the memory serve two at once; the effect has not been measured.
  let lane = index % 32u;
  let part = index / 32u;
  let x = part % 2u * 8u + lane / 2u % 8u;
  let y = part / 2u * 4u + lane % 2u + lane / 16u * 2u;
  // The 4 x 4 of a tile that this invocation loads: adjacent invocations load adjacent memory.
  let brings_a = index < 128u;
  let id = index % 128u;
  let along_k = select(TRANSPOSE_B, !TRANSPOSE_A, brings_a);
  let four = select(id % 32u, id / 2u % 32u, along_k); // which 4 rows or columns
  let k4 = select(id / 32u, id % 2u + id / 64u * 2u, along_k) * 4u;
  //#repeat i 0..8
  var c{i}0 = vec4f();
  var c{i}1 = vec4f();
  //#end
  //#if HAS_ROW_SUMS
  var row_sum = vec4f();
  //#end
  for (var k = 0u; k < params.k; k += 16u) {
    if (brings_a) {
      var tile = transpose(tile_a(start.x, first_row + four * 4u, k + k4));
      if (k + k4 >= params.k) {
        tile = mat4x4f();
      }
      //#if HAS_ROW_SUMS
      if (group.x == 0u) {
        row_sum += tile[0] + tile[1] + tile[2] + tile[3];
      }
      //#end
      //#repeat i 0..4
      as_[k4 + {i}u][four] = tile[{i}];
      //#end
    } else {
      var tile = tile_b(start.y, k + k4, first_column + four * 4u);
      if (k + k4 >= params.k) {
        tile = mat4x4f();
      }
      //#repeat i 0..4
      bs[k4 + {i}u][four] = tile[{i}];
      //#end
    }
    workgroupBarrier();
    //#repeat k 0..16
    {
      let a0 = as_[{k}][y];
      let a1 = as_[{k}][y + 16u];
      let b0 = bs[{k}][x];
      let b1 = bs[{k}][x + 16u];
      //#repeat i 0..4
      c{i}0 = fma(vec4f(a0[{i}]), b0, c{i}0);
      c{i}1 = fma(vec4f(a0[{i}]), b1, c{i}1);
      c{i+4}0 = fma(vec4f(a1[{i}]), b0, c{i+4}0);
      c{i+4}1 = fma(vec4f(a1[{i}]), b1, c{i+4}1);
      //#end
    }
    //#end
    workgroupBarrier();
  }
  //#if HAS_ROW_SUMS
  if (group.x == 0u) {
    if (brings_a) {
      as_[k4 / 4u][four] = row_sum;
    }
    workgroupBarrier();
    if (index < 32u) {
      let sum = as_[0][index] + as_[1][index] + as_[2][index] + as_[3][index];
      store_row_sums(group.z, first_row + index * 4u, sum);
    }
  }
  //#end
  let row = first_row + y * 4u;
  let left = first_column + x * 4u;
  let right = left + 64u;
  let add_left = bias_of(left);
  let add_right = bias_of(right);
  //#repeat i 0..4
  store(start.z, row + {i}u, left, c{i}0, add_left);
  store(start.z, row + {i}u, right, c{i}1, add_right);
  store(start.z, row + {i+64}u, left, c{i+4}0, add_left);
  store(start.z, row + {i+64}u, right, c{i+4}1, add_right);
  //#end
}
