// What the programs for GPUs with enough workgroup memory share. A workgroup owns OWN rows (queries, or keys in
// attention_backward_kv), which stay in workgroup memory; OTHER rows of the other side pass by at a time. Its
// invocations stand in a grid of OWN / 4 by 8: one at (y, x) computes the products of the own rows 4 y to 4 y + 3 and the other
// rows x, x + 8, ..., and for its own rows the columns x, x + 8, ... (in vec4) of what is added up over the other rows.
const OWN = 64u;
const OTHER = 32u;
const THREADS = 128u; // 8 * OWN / 4
const OTHERS = 4u; // OTHER / 8: other rows of an invocation
const COLUMNS = 2u; // vec4 columns of an invocation
const STRIDE = 17u; // vec4 from one row of a tile to the next: odd, so that rows begin in different banks
alias Tile = vec4<f32>; // what tiles hold

const OWN4 = OWN / 4u;
const W_STRIDE = OWN4 + 1u; // vec4 from one other row of the weights to the next

var<workgroup> weights: array<vec4f, OTHER * W_STRIDE>; // [other row][own row / 4]

//#if DROPOUT
var<workgroup> kept: array<u32, OTHER * OWN4>; // what kept_bits gives, [other row / 4][own row % 4][own row / 4]
//#end

// Draws for the own rows 4 y to 4 y + 3 (where the first of the workgroup is `row`) and the other rows from 4 four on: the 8
// invocations that have the same own rows share it.
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

// What the weights of the own rows 4 y to 4 y + 3 and an other row are multiplied with.
fn drawn_factors(other: u32, y: u32) -> vec4f {
  //#if DROPOUT
  let at = other / 4u * 4u * OWN4 + y;
  return kept_factors(vec4u(kept[at], kept[at + OWN4], kept[at + 2u * OWN4], kept[at + 3u * OWN4]), other % 4u);
  //#else
  return vec4f(1.0);
  //#end
}

// Where an invocation stands in the grid, (x, y): neighbours have the same other rows and those two apart the same own rows,
// as in matmul_large.wgsl.
fn place_of(index: u32) -> vec2u {
  return vec2u(index / 2u % 8u, index / 32u * 4u + index % 2u + index / 16u % 2u * 2u);
}
