// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// Prepended to programs whose Params have its fields.

// The upper half of the product of two u32, computed from halves of 16 bits.
fn mul_high(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let low = al * bl;
  let middle = ah * bl + (low >> 16u);
  let carry = al * bh + (middle & 0xffffu);
  return ah * bh + (middle >> 16u) + (carry >> 16u);
}

fn philox_round(c: vec4u, key: vec2u) -> vec4u {
  let m0 = 0xD2511F53u;
  let m1 = 0xCD9E8D57u;
  return vec4u(
    mul_high(m1, c.z) ^ c.y ^ key.x,
    m1 * c.z,
    mul_high(m0, c.x) ^ c.w ^ key.y,
    m0 * c.x,
  );
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  //#repeat round 0..10
  c = philox_round(c, k);
  k += vec2u(0x9E3779B9u, 0xBB67AE85u);
  //#end
  return c;
}

// The four numbers of block `index` of the launch's stream.
fn random_block(index: u32) -> vec4u {
  let low = params.block_low + index;
  let high = params.block_high + select(0u, 1u, low < index);
  return philox(vec4u(low, high, 0u, 0u), vec2u(params.seed_low, params.seed_high));
}

// Converts random bits to a number in [0, 1), in steps of 2^-24.
fn unit(bits: u32) -> f32 {
  return f32(bits >> 8u) * 0x1p-24f;
}
