// One id for each row of scores: the highest with Gumbel noise added (Gumbel 1954), which draws with the
// probabilities of the softmax, among those that top-k, top-p and min-p leave. Nothing is sorted: the bits of
// floats are ordered as the floats are, so the lowest score that stays is found bit by bit.
const NOISE = true; // false takes the highest score

/** The column numbers of the i-th F of a row. */
fn columnsOf(i: u32) -> I {
  return I(i * WIDTH) + STEP;
}

/** The i-th F of the row that begins at `first`, penalised; LOWEST what is no number or cannot be drawn. */
fn scores(first: u32, i: u32) -> F {
  var x = F(logits[first + i]);
  if (HAS_SEEN) {
    let penalised = select(x * params.penalty, x / params.penalty, x > F(0.0));
    x = select(x, penalised, seen[first + i] != SEEN(0));
  }
  let number = (bitcast<I>(x) & I(0x7fffffffu)) <= I(0x7f800000u);
  x = clamp(x, F(LOWEST), F(-LOWEST));
  x = select(x, F(0.0), x == F(0.0)); // no -0
  return select(F(LOWEST), x, number & (columnsOf(i) < I(params.choices)));
}

/** Whole numbers that are ordered as the floats are. */
fn key(x: F) -> I {
  let bits = bitcast<I>(x);
  return select(bits | I(0x80000000u), ~bits, (bits >> I(31u)) == I(1u));
}

/** Gumbel noise -log(-log(1 - u)) for random bits, u in (0, 1). */
fn gumbel(bits: I) -> F {
  // f32 holds u exactly, and more finely near 0, which makes the highest noise.
  let fine = (F(bits) + F(0.5)) * 0x1p-32f;
  let u = select((F(bits >> I(9u)) + F(0.5)) * 0x1p-23f, fine, bits < I(1u << 23u));
  // Near 0 a series: there the logarithm of 1 - u would have few digits.
  var tail = F(1.0 / 8.0);
  //#repeat i 1..8
  tail = tail * u + F(1.0 / f32(8 - {i}));
  //#end
  return -log(select(-log(F(1.0) - u), tail * u, u < F(0.125)));
}

/** Random bits for the i-th F of a row; every row begins with a block of its own. */
fn randomBits(row: u32, i: u32) -> I {
  let block = random_block((params.first + row) * ((params.columns + 3u) / 4u) + i * WIDTH / 4u);
  var bits = I(0u);
  //#repeat k 0..4
  bits = select(bits, I(block[{k}]), (columnsOf(i) & I(3u)) == I({k}u));
  //#end
  return bits;
}

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
  let lane = laneOf(local);
  let units = params.columns / WIDTH;
  let first = row * units;

  var top = 0.0;
  var least = 0u; // the key of the lowest score that stays
  if (NOISE) {
    var high = F(LOWEST);
    for (var i = lane; i < units; i += LANES) {
      high = max(high, scores(first, i));
    }
    top = maxOfLanes(largest(high), lane);

    // The largest key that at least k scores reach.
    if (params.top_k < params.choices) {
      for (var bit = 1u << 31u; bit > 0u; bit >>= 1u) {
        let trial = I(least | bit);
        var count = F(0.0);
        for (var i = lane; i < units; i += LANES) {
          count += select(F(0.0), F(1.0), key(scores(first, i)) >= trial);
        }
        if (sumOfLanes(total(count), lane) >= f32(params.top_k)) {
          least |= bit;
        }
      }
    }

    // The largest key for which the scores that reach it have a part p of what is left.
    if (params.top_p < 1.0) {
      let left = I(least);
      least = 0u;
      // The whole first, then bit by bit.
      var needed = 0.0;
      for (var round = 0u; round <= 32u; round++) {
        let bit = select(0u, 1u << ((32u - round) & 31u), round > 0u);
        let trial = max(left, I(least | bit));
        var mass = F(0.0);
        for (var i = lane; i < units; i += LANES) {
          let x = scores(first, i);
          mass += select(F(0.0), exp((x - top) * params.sharpness), key(x) >= trial);
        }
        let sum = sumOfLanes(total(mass), lane);
        if (round == 0u) {
          needed = max(params.top_p * sum, 1.0); // the likeliest counts 1 and always stays
        } else if (sum >= needed) {
          least |= bit;
        }
      }
    }
  }

  var best = F(LOWEST);
  var places = I(0u);
  for (var i = lane; i < units; i += LANES) {
    let x = scores(first, i);
    var z = x;
    var stays = x > F(LOWEST);
    if (NOISE) {
      z = (x - top) * params.sharpness;
      stays = stays & (key(x) >= I(least)) & (z >= F(params.floor));
      if (any(stays)) {
        z += gumbel(randomBits(row, i));
      }
    }
    let better = stays & (z > best);
    best = select(best, z, better);
    places = select(places, columnsOf(i), better);
  }
  let winner = maxOfLanes(largest(best), lane);
  // The leftmost among equals.
  let place = -maxOfLanes(largest(select(F(LOWEST), -F(places), best == F(winner))), lane);
  if (lane == 0u) {
    ids[row] = select(-1, i32(place), winner > LOWEST);
  }
}
