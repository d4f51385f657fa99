// dlogits = (softmax - target distribution) * scale * d_out, with the softmax from the sums; 0 in ignored rows

@compute @workgroup_size(GROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = rowOf(group.x + group.y * groups.x, local);
  if (row >= params.rows) {
    return;
  }
  let units = params.classes / WIDTH;
  let first = row * units;
  let chosen = i32(targets[row]);
  let ignored = chosen == params.ignore_index;
  let known = chosen >= 0 && u32(chosen) < params.known;
  let factor = scale[0] * d_out[0];
  let shift = sums[2u * row];
  let share = 1.0 / sums[2u * row + 1u];
  let hot = 1.0 - params.smoothing;
  let spread = params.smoothing / f32(params.classes);
  for (var i = laneOf(local); i < units; i += LANES) {
    let p = exp(F(logits[first + i]) - shift) * share;
    let d = (p - spread - oneHot(i, u32(chosen)) * hot) * factor;
    d_logits[first + i] = D_LOGITS(select(nansIf(d, !known), F(0.0), ignored));
  }
}
