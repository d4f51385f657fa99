// 4 elements of a quantised matrix from `index`, a multiple of 4, on: words of codes and, for each 32 elements, an
// f16 scale.
const FOUR_BITS = false;

const HAS_ROW_SUMS = false; // quantised matrices have no gradient, with which a bias's would be computed

fn dequantised(index: u32) -> vec4f {
  let block = index / 32u;
  let pair = unpack2x16float(scales[block / 2u]);
  let scale = select(pair.x, pair.y, (block & 1u) == 1u);
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
