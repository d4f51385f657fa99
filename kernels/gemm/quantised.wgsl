// 4 elements of a quantised matrix from `index`, a multiple of 4, on: words of codes and, for each 32 elements, an
// f16 scale.
const FOUR_BITS = false;

const HAS_ROW_SUMS = false; // quantised matrices have no gradient, with which a bias's would be computed

fn scale_of(block: u32) -> f32 {
  let pair = unpack2x16float(scales[block / 2u]);
  return select(pair.x, pair.y, (block & 1u) == 1u);
}

fn dequantised(index: u32) -> vec4f {
  let block = index / 32u;
  let scale = scale_of(block);
  //#if FOUR_BITS
  // The first 16 elements of a block are in the low halves of its 16 bytes, the others in the high halves.
  let within = index % 32u;
  let word = codes[block * 4u + (within % 16u) / 4u] >> (within / 16u * 4u);
  return scale * (vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u)) - 8.0);
  //#else
  let word = bitcast<i32>(codes[index / 4u]);
  return scale * vec4f((vec4i(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
  //#end
}

// Elements 4 i to 4 i + 3 of a block as four integers of 8 bits.
fn codes_of(block: u32, i: u32) -> u32 {
  //#if FOUR_BITS
  let word = (codes[block * 4u + i % 4u] >> (i / 4u * 4u)) & 0x0f0f0f0fu;
  return ((word | 0x80808080u) - 0x08080808u) ^ 0x80808080u; // minus 8 in each byte
  //#else
  return codes[block * 8u + i];
  //#end
}
