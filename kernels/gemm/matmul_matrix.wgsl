// For GPUs with matrix units (WebGPU's experimental subgroup matrices): f16 in, sums in f32. A workgroup computes
// TILE_M x TILE_N of C; each of its subgroups, of 32 invocations, computes ROWS x COLUMNS matrices of 16 x 16. Tiles
// of A and B, TILE_K long in k, are in workgroup memory in the layout of A and B; the next ones are loaded while the
// matrices are multiplied.
const ROWS = 4u; // matrices of a subgroup, from top to bottom
const COLUMNS = 2u; // from left to right
const SUBGROUPS_M = 2u;
const SUBGROUPS_N = 4u;
const TILE_K = 32u;
const THREADS = 256u; // 32 * SUBGROUPS_M * SUBGROUPS_N
const A_LOADS = 4u; // vec4 of the tile of A that an invocation loads
const B_LOADS = 4u;
const K_STEPS = 2u; // TILE_K / 16

const TILE_M = 16u * ROWS * SUBGROUPS_M;
const TILE_N = 16u * COLUMNS * SUBGROUPS_N;
// The vec4 in a row of a tile, and its stride, which is padded so that rows begin in different banks.
const A_WIDTH = select(TILE_K, TILE_M, TRANSPOSE_A) / 4u;
const B_WIDTH = select(TILE_N, TILE_K, TRANSPOSE_B) / 4u;
const A_STRIDE = A_WIDTH + 2u;
const B_STRIDE = B_WIDTH + 2u;
const A_SIZE = A_STRIDE * select(TILE_M, TILE_K, TRANSPOSE_A);
const B_SIZE = B_STRIDE * select(TILE_K, TILE_N, TRANSPOSE_B);

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> tile_of_a: array<vec4<f16>, A_SIZE>;
var<workgroup> tile_of_b: array<vec4<f16>, B_SIZE>;
// Sums on their way to C, 16 x 16 per subgroup, rows padded.
const SUM_STRIDE = 5u;
var<workgroup> sums: array<vec4f, THREADS / 32u * 16u * SUM_STRIDE>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let subgroup = index / 32u;
  let lane = index % 32u;
  let start = starts(group.z);
  let first_row = group.y * TILE_M;
  let first_column = group.x * TILE_N;
  let top = subgroup / SUBGROUPS_N * (16u * ROWS);
  let left = subgroup % SUBGROUPS_N * (16u * COLUMNS);
  //#repeat i 0..ROWS
  //#repeat j 0..COLUMNS
  var sum{i}_{j} = Sum();
  //#end
  //#end
  //#repeat i 0..A_LOADS
  let a_row{i} = (index + {i}u * THREADS) / A_WIDTH;
  let a_column{i} = (index + {i}u * THREADS) % A_WIDTH;
  //#end
  //#repeat i 0..B_LOADS
  let b_row{i} = (index + {i}u * THREADS) / B_WIDTH;
  let b_column{i} = (index + {i}u * THREADS) % B_WIDTH;
  //#end
  //#repeat i 0..A_LOADS
  var a{i} = vec_of_a(start.x, first_row, 0u, a_row{i}, a_column{i});
  //#end
  //#repeat i 0..B_LOADS
  var b{i} = vec_of_b(start.y, 0u, first_column, b_row{i}, b_column{i});
  //#end
  //#if HAS_ROW_SUMS
  var row_sum = vec4f();
  //#end
  for (var k = 0u; k < params.k; k += TILE_K) {
    //#repeat i 0..A_LOADS
    tile_of_a[a_row{i} * A_STRIDE + a_column{i}] = a{i};
    //#end
    //#if HAS_ROW_SUMS
    if (group.x == 0u) {
      //#repeat i 0..A_LOADS
      row_sum += vec4f(a{i});
      //#end
    }
    //#end
    //#repeat i 0..B_LOADS
    tile_of_b[b_row{i} * B_STRIDE + b_column{i}] = b{i};
    //#end
    workgroupBarrier();
    if (k + TILE_K < params.k) {
      //#repeat i 0..A_LOADS
      a{i} = vec_of_a(start.x, first_row, k + TILE_K, a_row{i}, a_column{i});
      //#end
      //#repeat i 0..B_LOADS
      b{i} = vec_of_b(start.y, k + TILE_K, first_column, b_row{i}, b_column{i});
      //#end
    }
    //#repeat s 0..K_STEPS
    {
      //#repeat i 0..ROWS
      //#if TRANSPOSE_A
      let x{i} = subgroupMatrixLoad<Left, col_major>(&tile_of_a, {16*s}u * A_STRIDE + top / 4u + {4*i}u, A_STRIDE);
      //#else
      let x{i} = subgroupMatrixLoad<Left, row_major>(&tile_of_a, (top + {16*i}u) * A_STRIDE + {4*s}u, A_STRIDE);
      //#end
      //#end
      //#repeat j 0..COLUMNS
      //#if TRANSPOSE_B
      let y{j} = subgroupMatrixLoad<Right, col_major>(&tile_of_b, (left + {16*j}u) * B_STRIDE + {4*s}u, B_STRIDE);
      //#else
      let y{j} = subgroupMatrixLoad<Right, row_major>(&tile_of_b, {16*s}u * B_STRIDE + left / 4u + {4*j}u, B_STRIDE);
      //#end
      //#end
      //#repeat i 0..ROWS
      //#repeat j 0..COLUMNS
      sum{i}_{j} = subgroupMatrixMultiplyAccumulate(x{i}, y{j}, sum{i}_{j});
      //#end
      //#end
    }
    //#end
    workgroupBarrier();
  }
  //#if HAS_ROW_SUMS
  // What an invocation loads of A is of the same 4 rows of op(A) in every load, if A is transposed.
  if (group.x == 0u) {
    sums[index] = row_sum;
    workgroupBarrier();
    if (index < A_WIDTH) {
      for (var other = index + A_WIDTH; other < THREADS; other += A_WIDTH) {
        row_sum += sums[other];
      }
      store_row_sums(group.z, first_row + index * 4u, row_sum);
    }
    workgroupBarrier();
  }
  //#end
  let at = subgroup * 16u * SUM_STRIDE;
  let row = lane / 4u;
  let four = lane % 4u;
  //#repeat j 0..COLUMNS
  let column{j} = first_column + left + {16*j}u + 4u * four;
  let add{j} = bias_of(column{j});
  //#end
  //#repeat i 0..ROWS
  //#repeat j 0..COLUMNS
  subgroupMatrixStore<row_major>(&sums, at, sum{i}_{j}, SUM_STRIDE);
  workgroupBarrier();
  store(start.z, first_row + top + {16*i}u + row, column{j}, sums[at + row * SUM_STRIDE + four], add{j});
  store(start.z, first_row + top + {16*i+8}u + row, column{j}, sums[at + (row + 8u) * SUM_STRIDE + four], add{j});
  workgroupBarrier();
  //#end
  //#end
}

// 4 elements of A for the tile that begins at (row, k), from place (y, x) of it in vec4, in its layout in memory;
// zeros past the end of k. Rows past the end repeat the last row; they are never stored.
fn vec_of_a(start: u32, row: u32, k: u32, y: u32, x: u32) -> vec4<f16> {
  if (TRANSPOSE_A) {
    let column = min(row + 4u * x, params.m - 4u);
    return select(vec4<f16>(), a[(start + (k + y) * params.lda + column) / 4u], k + y < params.k);
  }
  let i = start + min(row + y, params.m - 1u) * params.lda;
  return select(vec4<f16>(), a[(i + k) / 4u + x], k + 4u * x < params.k);
}

// The same for B and the tile at (k, column).
fn vec_of_b(start: u32, k: u32, column: u32, y: u32, x: u32) -> vec4<f16> {
  if (TRANSPOSE_B) {
    let i = start + min(column + y, params.n - 1u) * params.ldb;
    return select(vec4<f16>(), b[(i + k) / 4u + x], k + 4u * x < params.k);
  }
  let at = min(column + 4u * x, params.n - 4u);
  return select(vec4<f16>(), b[(start + (k + y) * params.ldb + at) / 4u], k + y < params.k);
}
