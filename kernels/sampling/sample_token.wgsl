// One id for each row of scores: the highest with Gumbel noise added (Gumbel 1954), which samples from the softmax,
// among those that top-k, top-p and min-p leave. Nothing is sorted: the bits of floats, as integers, have the order
// of the floats, so the lowest remaining score is found digit by digit.
const NOISE = true; // false takes the highest score

/** The column numbers of the i-th F of a row. */
fn columnsOf(i: u32) -> I {
  return I(i * WIDTH) + STEP;
}

/** The i-th F of the row that begins at `first`, penalised; LOWEST for what is NaN or cannot be drawn. */
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

/** Integers with the order of the floats. */
fn key(x: F) -> I {
  let bits = bitcast<I>(x);
  return select(bits | I(0x80000000u), ~bits, (bits >> I(31u)) == I(1u));
}

/** Gumbel noise -log(-log(1 - u)) for random bits, u in (0, 1). */
fn gumbel(bits: I) -> F {
  // f32 represents u exactly, and more finely near 0, where the noise is highest.
  let fine = (F(bits) + F(0.5)) * 0x1p-32f;
  let u = select((F(bits >> I(9u)) + F(0.5)) * 0x1p-23f, fine, bits < I(1u << 23u));
  // A series near 0, where the logarithm of 1 - u would have few digits.
  var tail = F(1.0 / 8.0);
  //#repeat i 1..8
  tail = tail * u + F(1.0 / f32(8 - {i}));
  //#end
  return -log(select(-log(F(1.0) - u), tail * u, u < F(0.125)));
}

/** Random bits for the i-th F of a row; every row begins with a new block. */
fn randomBits(row: u32, i: u32) -> I {
  let block = random_block((params.first + row) * ((params.columns + 3u) / 4u) + i * WIDTH / 4u);
  var bits = I(0u);
  //#repeat k 0..4
  bits = select(bits, I(block[{k}]), (columnsOf(i) & I(3u)) == I({k}u));
  //#end
  return bits;
}

var<workgroup> fours: array<vec4f, GROUP>;

/** The sums of the lanes' values, in every lane. */
fn sumsOfLanes(values: vec4f, lane: u32) -> vec4f {
  workgroupBarrier(); // the previous result has been read
  fours[lane] = values;
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      fours[lane] += fours[lane + half];
    }
  }
  workgroupBarrier();
  return fours[0];
}

/** The higher of two scores, with its column; of equals, that with the lower column. */
fn higher(a: vec2f, b: vec2f) -> vec2f {
  return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}

/** The best element of an F, with its column. */
fn bestOf(scores: F, columns: I) -> vec2f {
  let s = vec4f(scores);
  let c = vec4f(vec4u(columns));
  var best = vec2f(s.x, c.x);
  if (VECTOR) {
    best = higher(higher(best, vec2f(s.y, c.y)), higher(vec2f(s.z, c.z), vec2f(s.w, c.w)));
  }
  return best;
}

/**
 * The best of the lanes' scores with its column, in lane 0. The column is carried along, so no value is searched for
 * again.
 */
fn winnerOfLanes(own: vec2f, lane: u32) -> vec2f {
  workgroupBarrier();
  fours[lane] = vec4f(own, 0.0, 0.0);
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      fours[lane] = vec4f(higher(fours[lane].xy, fours[lane + half].xy), 0.0, 0.0);
    }
  }
  return fours[lane].xy;
}

/**
 * The largest key that is reached by `top_k` scores or, with `byMass`, by scores with a fraction `top_p` of the
 * probability of those from the key `left` on. Each pass over the row finds four bits of it from the sums for 16
 * keys.
 *
 * Only measured sums are relied on, since exp may be inexact: `lowest` is only ever set to a key with a sum above 0,
 * so at least one score reaches it.
 */
fn lowestToStay(first: u32, lane: u32, top: f32, left: u32, byMass: bool) -> u32 {
  let units = params.columns / WIDTH;
  var lowest = 0u;
  var needed = f32(params.top_k);
  for (var round = 0u; round < 8u; round++) {
    let shift = 28u - 4u * round;
    //#repeat v 0..4
    let digits{v} = vec4u({4*v}u, {4*v + 1}u, {4*v + 2}u, {4*v + 3}u);
    let trial{v} = max(vec4u(left), vec4u(lowest) | (digits{v} << vec4u(shift)));
    var part{v} = vec4f();
    //#end
    for (var i = lane; i < units; i += LANES) {
      let x = scores(first, i);
      let own = key(x);
      var amount = F(1.0);
      if (byMass) {
        amount = exp((x - top) * params.sharpness);
      }
      //#repeat v 0..4
      part{v} += vec4f(
        total(select(F(0.0), amount, own >= I(trial{v}.x))),
        total(select(F(0.0), amount, own >= I(trial{v}.y))),
        total(select(F(0.0), amount, own >= I(trial{v}.z))),
        total(select(F(0.0), amount, own >= I(trial{v}.w))),
      );
      //#end
    }
    var reached = vec4f();
    //#repeat v 0..4
    let sum{v} = sumsOfLanes(part{v}, lane);
    if (byMass && {v}u + round == 0u) {
      needed = params.top_p * sum0.x; // a fraction of the sum of all
    }
    reached += select(vec4f(), vec4f(1.0), (sum{v} >= vec4f(needed)) & (sum{v} > vec4f()));
    //#end
    lowest |= (max(1u, u32(dot(reached, vec4f(1.0)))) - 1u) << shift;
  }
  return lowest;
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
  var lowest = 0u; // the key of the lowest score that remains
  if (NOISE) {
    var high = F(LOWEST);
    for (var i = lane; i < units; i += LANES) {
      high = max(high, scores(first, i));
    }
    top = maxOfLanes(largest(high), lane);

    if (params.top_k < params.choices) {
      lowest = lowestToStay(first, lane, top, 0u, false);
    }
    if (params.top_p < 1.0) {
      lowest = max(lowest, lowestToStay(first, lane, top, lowest, true));
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
      // The highest score is as likely as itself, whatever rounding does to z.
      stays = stays & (key(x) >= I(lowest)) & ((z >= F(params.floor)) | (x >= F(top)));
      if (any(stays)) {
        z += gumbel(randomBits(row, i));
      }
    }
    let better = stays & (z > best);
    best = select(best, z, better);
    places = select(places, columnsOf(i), better);
  }
  let winner = winnerOfLanes(bestOf(best, places), lane);
  if (lane == 0u) {
    ids[row] = select(-1, i32(winner.y), winner.x > LOWEST);
  }
}
