// Sums over a slab of rows: d_weight[slab] = sum(d_out * (x - mean) * rstd), d_bias[slab] = sum(d_out); one
// invocation for a column (or four) of a slab, no atomics, so the sums are the same every time.

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let units = params.columns / WIDTH;
  let column = id.x;
  if (column >= units) {
    return;
  }
  var weights = F(0.0);
  var biases = F(0.0);
  let end = min((id.y + 1u) * params.slab_rows, params.rows);
  for (var row = id.y * params.slab_rows; row < end; row++) {
    let g = F(d_out[row * units + column]);
    if (HAS_D_WEIGHT) {
      var v = F(x[row * units + column]);
      if (HAS_MEAN) {
        v -= mean[row];
      }
      weights += g * v * rstd[row];
    }
    biases += g;
  }
  let at = (params.first_slab + id.y) * units + column;
  if (HAS_D_WEIGHT) {
    d_weight[at] = D_WEIGHT(weights);
  }
  if (HAS_D_BIAS) {
    d_bias[at] = D_BIAS(biases);
  }
}
