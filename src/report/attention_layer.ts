// What the pictures of attention have in common: their input, and its scale of colours.
import type { HeatMap, HeatScale } from "./heat_map.ts";

/** The attention weights of one layer for one example: a row of a picture. */
export interface AttentionLayer {
  /** Heading of the row, such as `h.0.attn`. */
  name: string;
  /** Number of heads: maps of the row. */
  heads: number;
  /** Number of positions that attend: rows of a map. */
  queries: number;
  /** Number of positions attended to: columns of a map. */
  keys: number;
  /** The weights, of shape (heads, queries, keys), each finite and not negative. */
  weights: Float32Array;
  /** The token at each query, written at the maps' left; positions where it is missing. */
  queryTokens?: readonly string[];
  /** The token at each key, written under the maps; positions where it is missing. */
  keyTokens?: readonly string[];
}

/** Throws where there is no layer, or one is not what its sizes say. */
export function checkLayers(layers: readonly AttentionLayer[]): void {
  if (layers.length === 0) {
    throw new RangeError("attentionPicture: expected at least one layer but got none");
  }
  for (const layer of layers) {
    const problem = problemOf(layer);
    if (problem) throw new RangeError(`Attention ${JSON.stringify(layer.name)}: ${problem}`);
  }
}

function problemOf(layer: AttentionLayer): string | undefined {
  const { heads, queries, keys, weights, queryTokens, keyTokens } = layer;
  if (![heads, queries, keys].every((size) => Number.isInteger(size) && size > 0)) {
    return `expected heads, queries and keys of at least 1 but found ${heads}, ${queries}, ${keys}`;
  }
  const size = heads * queries * keys;
  if (weights.length !== size) {
    return `expected ${heads} * ${queries} * ${keys} = ${size} weights but found ${weights.length}`;
  }
  if (queryTokens && queryTokens.length !== queries) {
    return `expected ${queries} query tokens but found ${queryTokens.length}`;
  }
  if (keyTokens && keyTokens.length !== keys) {
    return `expected ${keys} key tokens but found ${keyTokens.length}`;
  }
  const wrong = weights.findIndex((weight) => !(weight >= 0 && weight < Infinity));
  if (wrong < 0) return undefined;
  return `expected finite weights of at least 0 but found ${weights[wrong]} at ${wrong}`;
}

/** One scale of colours for all maps, so that they can be compared. */
export function attentionScale(layers: readonly AttentionLayer[]): HeatScale {
  // A sum of two attentions, as in GPT-3's sparse blocks, reaches above 1.
  let top = 1;
  for (const { weights } of layers) {
    for (const weight of weights) top = Math.max(top, weight);
  }
  const keys = Math.max(...layers.map(({ keys }) => keys));
  // With it, even attention over all keys stands at a quarter of the scale.
  const exponent = Math.log(4) / Math.log(Math.max(2, keys));
  return { top, exponent: Math.min(1, Math.max(1 / 4, exponent)) };
}

/** The weights of one head. */
export function headMap({ queries, keys, weights }: AttentionLayer, head: number): HeatMap {
  const size = queries * keys;
  const values = weights.subarray(head * size, (head + 1) * size);
  return { rows: queries, columns: keys, values };
}
