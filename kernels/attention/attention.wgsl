// What the attention programs share. attention.ts appends the bindings of one of them (such as
// attention_forward.wgsl) and its body for a kind of adapter (such as attention_forward_tiled.wgsl).
// An invocation owns a row: a query, or in attention_backward_kv a key. It iterates over the rows of the other side,
// 8 at a time, the same ones for a whole workgroup. On a GPU the workgroup loads them into workgroup memory together;
// on a software adapter, where loads are the main cost (see matmul_subgroup.wgsl), lanes broadcast them to each
// other.
const D = 64u; // the size of a head
const D4 = 16; // vec4 that hold it
const ROWS = 64u; // invocations in a workgroup
const TILES = 4; // groups of 8 rows loaded at a time
const TILE_VECTORS = 512; // 8 * TILES * D4
const HIDDEN = -1e30; // the score of a key that may not be seen
const DROPOUT = false;
const DOCUMENTS = false; // the mask holds the position of each token in its document

// True for those of the elements 4 i to 4 i + 3 that are inside the head.
fn inside(i: u32) -> vec4<bool> {
  return vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u) < vec4u(D);
}

// The weights that dropout keeps, one bit each, of a row (batch, heads, queries) and the keys 4 four to 4 four + 3.
fn kept_bits(row: u32, four: u32) -> u32 {
  //#if DROPOUT
  let random = random_block(row * ((params.keys + 3u) / 4u) + four);
  var bits = 0u;
  //#repeat i 0..4
  bits |= select(0u, 1u, unit(random[{i}]) >= params.dropout) << {i}u;
  //#end
  return bits;
  //#else
  return 15u;
  //#end
}

// The factors of dropout for four weights, from bit i of each.
fn kept_factors(bits: vec4u, i: u32) -> vec4f {
  //#if DROPOUT
  return select(vec4f(), vec4f(1.0 / (1.0 - params.dropout)), ((bits >> vec4u(i)) & vec4u(1u)) != vec4u());
  //#else
  return vec4f(1.0);
  //#end
}

fn kept_factor(bits: u32, i: u32) -> f32 {
  return kept_factors(vec4u(bits), i).x;
}

// The factors of dropout for the weights of a row and the keys 4 four to 4 four + 3.
fn kept_of(row: u32, four: u32) -> vec4f {
  let bits = kept_bits(row, four);
  return kept_factors(vec4u(bits, bits >> 1u, bits >> 2u, bits >> 3u), 0u);
}

// True if the mask hides no key of a sequence.
fn may_be_seen(b: u32, key: u32) -> bool {
  return !HAS_MASK || DOCUMENTS || mask[b * params.mask_batch + min(key, params.keys - 1u)] != 0;
}

// The first token of the document that a token of a sequence is in.
fn document_start(b: u32, token: u32) -> u32 {
  return token - u32(mask[b * params.mask_batch + token]);
}

// The end of that document, found by bisection.
fn document_end(b: u32, token: u32) -> u32 {
  var low = token + 1u;
  var high = params.queries;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (document_start(b, middle) > token) {
      high = middle;
    } else {
      low = middle + 1u;
    }
  }
  return high;
}

// The first key that a query at a position may see, rounded down to a multiple of 4, where a block of random numbers
// begins.
fn first_key(b: u32, position: i32) -> u32 {
  return keys_seen(b, position).x / 4u * 4u;
}

// The range of keys, begin..end, that a query at a position may see.
fn keys_seen(b: u32, position: i32) -> vec2u {
  var seen = vec2u(0u, params.keys);
  if (params.step != 0u) {
    seen.y = min(params.keys, u32(max(position + 1, 0)) / params.step);
  }
  if (params.block != 0u) {
    seen.x = u32(max(position, 0)) / params.block * params.block;
  }
  if (params.window != 0u) {
    seen.x = max(seen.x, u32(max(position + 1 - i32(params.window), 0)));
  }
  if (DOCUMENTS) {
    seen.x = max(seen.x, document_start(b, u32(position)));
  }
  return seen;
}

// The range of queries, begin..end, that may see a key.
fn queries_seeing(b: u32, key: u32) -> vec2u {
  var seeing = vec2u(0u, params.queries);
  if (params.step != 0u) {
    seeing.x = u32(max(i32((key + 1u) * params.step) - 1 - params.position, 0));
  }
  if (params.block != 0u) {
    let end = i32((key / params.block + 1u) * params.block) - params.position;
    seeing.y = min(params.queries, u32(max(end, 0)));
  }
  if (params.window != 0u) {
    let end = i32(key + params.window) - params.position;
    seeing.y = min(seeing.y, u32(max(end, 0)));
  }
  if (DOCUMENTS) {
    seeing.y = min(seeing.y, document_end(b, key));
  }
  return seeing;
}

// True if i is in begin..end.
fn within(i: u32, range: vec2u) -> bool {
  return i >= range.x && i < range.y;
}
