// Without workgroup memory or subgroups: each invocation computes 4 x 4 of C by itself. For small products, and for
// software adapters without subgroups.
const COLUMNS = 8u; // width of a workgroup in invocations
const ROWS = 8u; // and its height

@compute @workgroup_size(COLUMNS, ROWS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let start = starts(id.z);
  let row = id.y * 4u;
  let column = id.x * 4u;
  if (row >= params.m || column >= params.n) {
    return;
  }
  var c0 = vec4f();
  var c1 = vec4f();
  var c2 = vec4f();
  var c3 = vec4f();
  //#if HAS_ROW_SUMS
  var row_sum = vec4f();
  //#end
  for (var k = 0u; k < params.k; k += 4u) {
    let x = tile_a(start.x, row, k);
    let y = tile_b(start.y, k, column);
    //#if HAS_ROW_SUMS
    row_sum += vec4f(1.0) * x;
    //#end
    c0 += x[0].x * y[0] + x[0].y * y[1] + x[0].z * y[2] + x[0].w * y[3];
    c1 += x[1].x * y[0] + x[1].y * y[1] + x[1].z * y[2] + x[1].w * y[3];
    c2 += x[2].x * y[0] + x[2].y * y[1] + x[2].z * y[2] + x[2].w * y[3];
    c3 += x[3].x * y[0] + x[3].y * y[1] + x[3].z * y[2] + x[3].w * y[3];
  }
  let add = bias_of(column);
  store(start.z, row, column, c0, add);
  store(start.z, row + 1u, column, c1, add);
  store(start.z, row + 2u, column, c2, add);
  store(start.z, row + 3u, column, c3, add);
  //#if HAS_ROW_SUMS
  if (column == 0u) {
    store_row_sums(id.z, row, row_sum);
  }
  //#end
}
