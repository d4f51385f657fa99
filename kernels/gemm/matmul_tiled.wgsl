// For GPUs: 64 invocations compute 64 x 64 of C, each 8 x 8 in 16 vec4 accumulators, from tiles of A and B in
// workgroup memory, 16 long in k. The rows and columns of an invocation are 8 apart, and the rows of the A tile are
// padded, so that adjacent invocations read different memory banks.
const STRIDE = 5u; // the stride of the A tile in vec4: 4 and padding

var<workgroup> as_: array<vec4f, 320>; // [row][k / 4]
var<workgroup> bs: array<vec4f, 256>; // [k][column / 4]

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let start = starts(group.z);
  let first_row = group.y * 64u;
  let first_column = group.x * 64u;
  // The 4 x 4 of each tile that this invocation loads: adjacent invocations load adjacent memory.
  let a_row = select(index / 4u, index % 16u, TRANSPOSE_A) * 4u;
  let a_k = select(index % 4u, index / 16u, TRANSPOSE_A);
  let b_column = select(index % 16u, index / 4u, TRANSPOSE_B);
  let b_k = select(index / 16u, index % 4u, TRANSPOSE_B) * 4u;
  //#repeat i 0..8
  var c{i}0 = vec4f();
  var c{i}1 = vec4f();
  //#end
  //#if HAS_ROW_SUMS
  var row_sum = vec4f();
  //#end
  for (var k = 0u; k < params.k; k += 16u) {
    var x = tile_a(start.x, first_row + a_row, k + a_k * 4u);
    var y = tile_b(start.y, k + b_k, first_column + b_column * 4u);
    if (k + a_k * 4u >= params.k) {
      x = mat4x4f();
    }
    if (k + b_k >= params.k) {
      y = mat4x4f();
    }
    //#if HAS_ROW_SUMS
    if (group.x == 0u) {
      row_sum += vec4f(1.0) * x;
    }
    //#end
    //#repeat i 0..4
    as_[(a_row + {i}u) * STRIDE + a_k] = x[{i}];
    bs[(b_k + {i}u) * 16u + b_column] = y[{i}];
    //#end
    workgroupBarrier();
    //#repeat q 0..4
    {
      //#repeat u 0..4
      let y{u}0 = bs[{64*q+16*u}u + local.x];
      let y{u}1 = bs[{64*q+16*u}u + local.x + 8u];
      //#end
      //#repeat i 0..8
      {
        let x = as_[({8*i}u + local.y) * STRIDE + {q}u];
        c{i}0 += x.x * y00 + x.y * y10 + x.z * y20 + x.w * y30;
        c{i}1 += x.x * y01 + x.y * y11 + x.z * y21 + x.w * y31;
      }
      //#end
    }
    //#end
    workgroupBarrier();
  }
  //#if HAS_ROW_SUMS
  if (group.x == 0u) {
    as_[index] = row_sum;
    workgroupBarrier();
    if (a_k == 0u) {
      let apart = select(1u, 16u, TRANSPOSE_A); // invocations between those with the same rows
      let sum = as_[index] + as_[index + apart] + as_[index + 2u * apart] + as_[index + 3u * apart];
      store_row_sums(group.z, first_row + a_row, sum);
    }
  }
  //#end
  let left = first_column + local.x * 4u;
  let right = left + 32u;
  let add_left = bias_of(left);
  let add_right = bias_of(right);
  //#repeat i 0..8
  store(start.z, first_row + local.y + {8*i}u, left, c{i}0, add_left);
  store(start.z, first_row + local.y + {8*i}u, right, c{i}1, add_right);
  //#end
}
