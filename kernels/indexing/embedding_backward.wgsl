// table[ids[r]] += x[r], in the order of r. One invocation per element, or per four, of the first row of each id.
const BLOCK = 1024u; // ids are sorted within blocks

// The first place in a block whose id is not smaller.
fn lower_bound(block: u32, token: u32) -> u32 {
  var first = block * BLOCK;
  var end = min(first + BLOCK, params.rows);
  while (first < end) {
    let middle = (first + end) / 2u;
    if (sorted[middle] < token) {
      first = middle + 1u;
    } else {
      end = middle;
    }
  }
  return first;
}

fn holds(block: u32, place: u32, token: u32) -> bool {
  return place < min((block + 1u) * BLOCK, params.rows) && sorted[place] == token;
}

@compute @workgroup_size(64)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = id.x + id.y * groups.x * 64u;
  let columns = params.columns / WIDTH;
  if (i >= params.rows * columns) {
    return;
  }
  let own = i / columns;
  let own_block = own / BLOCK;
  let token = sorted[own];
  let row = token - params.first_row;
  let repeated = own > own_block * BLOCK && sorted[own - 1u] == token;
  if (repeated || row >= params.table_rows) {
    return;
  }
  for (var block = 0u; block < own_block; block++) {
    if (holds(block, lower_bound(block, token), token)) {
      return;
    }
  }
  let column = i % columns;
  var sum = F();
  let blocks = (params.rows + BLOCK - 1u) / BLOCK;
  for (var block = own_block; block < blocks; block++) {
    var place = own;
    if (block > own_block) {
      place = lower_bound(block, token);
    }
    while (holds(block, place, token)) {
      sum += F(x[sorted[params.rows + place] * columns + column]);
      place++;
    }
  }
  let at = row * columns + column;
  table[at] = TABLE(F(table[at]) + sum);
}
