// What the programs for GPUs with enough workgroup memory share. A workgroup owns OWN rows (queries, or keys in
// attention_backward_kv), which stay in workgroup memory, and iterates over the other side, OTHER rows at a time. Its
// invocations form a grid of OWN / 4 by 8. The one at (y, x) computes the products of own rows 4 y to 4 y + 3 with
// other rows x, x + 8, ...; for its own rows, it computes columns x, x + 8, ... (in vec4) of the sums over the other
// rows.
const OWN = 64u;
const OTHER = 32u;
const THREADS = 128u; // 8 * OWN / 4
const OTHERS = 4u; // OTHER / 8: other rows per invocation
const COLUMNS = 2u; // vec4 columns per invocation
const STRIDE = 17u; // the stride of a tile in vec4: odd, so that rows begin in different banks
alias Tile = vec4<f32>; // the elements of tiles

const OWN4 = OWN / 4u;
const W_STRIDE = OWN4 + 1u; // the stride of the weights between other rows, in vec4

var<workgroup> weights: array<vec4f, OTHER * W_STRIDE>; // [other row][own row / 4]

//#if DROPOUT
var<workgroup> kept: array<u32, OTHER * OWN4>; // from kept_bits, [other row / 4][own row % 4][own row / 4]
//#end

// Draws for the own rows 4 y to 4 y + 3 (`row` is the first of the workgroup) and the other rows from 4 four on. The
// 8 invocations with the same own rows share the work.
fn draw_kept(row: u32, four: u32, place: vec2u) {
  //#if DROPOUT
  //#repeat j 0..OTHERS
  {
    let n = place.x + {8*j}u;
    kept[n * OWN4 + place.y] = kept_bits(row + 4u * place.y + n % 4u, four + n / 4u);
  }
  //#end
  //#end
}

// The factors of dropout for the weights of the own rows 4 y to 4 y + 3 and one other row.
fn drawn_factors(other: u32, y: u32) -> vec4f {
  //#if DROPOUT
  let at = other / 4u * 4u * OWN4 + y;
  return kept_factors(vec4u(kept[at], kept[at + OWN4], kept[at + 2u * OWN4], kept[at + 3u * OWN4]), other % 4u);
  //#else
  return vec4f(1.0);
  //#end
}

// The place (x, y) of an invocation in the grid: adjacent invocations share other rows, those two apart share own
// rows, as in matmul_large.wgsl.
fn place_of(index: u32) -> vec2u {
  return vec2u(index / 2u % 8u, index / 32u * 4u + index % 2u + index / 16u % 2u * 2u);
}
