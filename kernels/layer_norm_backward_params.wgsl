// Sums over a slab of rows: dWeight[slab] = sum(dy * (x - mean) * rstd), dBias[slab] = sum(dy); one
// invocation for a column (or four) of a slab, no atomics, so the sums are the same every time.
alias G = f32; // dy as stored: f32, f16 or four of them
alias X = f32; // x as stored
alias W = f32; // dWeight as stored
alias B = f32; // dBias as stored
const HAS_MEAN = true;
const HAS_WEIGHT = true;
const HAS_BIAS = true;

struct Params {
  rows: u32,
  columns: u32,
  slabRows: u32, // rows in a slab; the last may have fewer
  firstSlab: u32, // where the first slab's sums go
}

@group(0) @binding(0) var<storage, read> dy: array<G>;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> dWeight: array<W>;
@group(0) @binding(5) var<storage, read_write> dBias: array<B>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let units = params.columns / WIDTH;
  let column = id.x;
  if (column >= units) {
    return;
  }
  var weights = F(0.0);
  var biases = F(0.0);
  let end = min((id.y + 1u) * params.slabRows, params.rows);
  for (var row = id.y * params.slabRows; row < end; row++) {
    let g = F(dy[row * units + column]);
    if (HAS_WEIGHT) {
      var v = F(x[row * units + column]);
      if (HAS_MEAN) {
        v -= mean[row];
      }
      weights += g * v * rstd[row];
    }
    biases += g;
  }
  let at = (params.firstSlab + id.y) * units + column;
  if (HAS_WEIGHT) {
    dWeight[at] = W(weights);
  }
  if (HAS_BIAS) {
    dBias[at] = B(biases);
  }
}
