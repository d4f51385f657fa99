// Applies a step, skips it, or halts all further steps

// By its bits, since a shader may assume that no value is NaN or infinite.
fn finite(bits: u32) -> bool {
  return (bits & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(1)
fn main() {
  var sound = params.scaled != 0u || finite(bitcast<u32>(norm[0]));
  for (var i = 0u; i < params.count; i++) {
    sound = sound && finite(bitcast<u32>(losses[i]));
  }
  var stopped = halted[0] != 0.0;
  if (!stopped) {
    let count = select(skipped[0] + 1.0, 0.0, sound);
    skipped[0] = count;
    stopped = count >= f32(params.max_skips);
    halted[0] = select(0.0, 1.0, stopped);
  }
  grad_scale[0] = select(0.0, factor[0], sound && !stopped);
}
