// For software adapters with subgroups of 8 (llvmpipe). There a load costs about a hundred instructions whatever its
// address, but broadcasting a value from one lane costs one. So nothing is loaded twice: a subgroup computes 32 x 32
// of C; each of its lanes loads 4 rows of A and 4 columns of B, 4 long in k, keeps its 4 columns and receives the 32
// rows from the other lanes.
const LANES = 32u; // a workgroup, 4 subgroups side by side

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let start = starts(group.z);
  let lane = index & 7u;
  // Consecutive workgroups have the same columns, so that what they read of B is still in the cache.
  let first = group.x * 32u;
  let column = (group.y * (LANES / 8u) + index / 8u) * 32u + lane * 4u;
  // Subgroups entirely past the last column have nothing to do.
  let end = select(params.k, 0u, column - lane * 4u >= params.n);
  //#repeat i 0..32
  var c{i} = vec4f();
  //#end
  //#if HAS_ROW_SUMS
  var row_sum = vec4f();
  //#end
  for (var k = 0u; k < end; k += 4u) {
    let rows = tile_a(start.x, first + lane * 4u, k);
    let cols = tile_b(start.y, k, column);
    //#if HAS_ROW_SUMS
    row_sum += vec4f(1.0) * rows;
    //#end
    //#repeat l 0..8
    //#repeat j 0..4
    {
      let x = subgroupBroadcast(rows[{j}], {l}u);
      c{j + 4*l} += x.x * cols[0] + x.y * cols[1] + x.z * cols[2] + x.w * cols[3];
    }
    //#end
    //#end
  }
  let add = bias_of(column);
  // A loop, since 32 unrolled stores take seconds to compile.
  var sums = array<vec4f, 32>(
    //#repeat i 0..32
    c{i},
    //#end
  );
  for (var i = 0u; i < 32u; i++) {
    store(start.z, first + i, column, sums[i], add);
  }
  //#if HAS_ROW_SUMS
  if (column == lane * 4u) {
    store_row_sums(group.z, first + lane * 4u, row_sum);
  }
  //#end
}
