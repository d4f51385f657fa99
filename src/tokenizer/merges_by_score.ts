/**
 * Merges of vocabularies that have scores instead, such as SentencePiece's.
 *
 * @module
 */
import { PairTable } from "./hash_tables.ts";
import { MAX_VOCAB_SIZE, type RankedMerges } from "./merges.ts";

/**
 * Returns the merges of all pairs of tokens that make up a token, higher scores first, except those into tokens that
 * are `leftOut`.
 *
 * @throws {Error} where there are too many
 */
export function mergesByScore(
  tokens: readonly string[],
  ids: ReadonlyMap<string, number>,
  scores: ArrayLike<number>,
  leftOut: (token: string, id: number) => boolean,
): RankedMerges {
  const order = [...tokens.keys()]
    .filter((id) =>
      ids.get(tokens[id]!) === id && !leftOut(tokens[id]!, id) && !Number.isNaN(scores[id]!)
    )
    .sort((a, b) => scores[b]! - scores[a]! || a - b);
  const ranks = new PairTable();
  const pairs: number[] = [], results: number[] = [];
  for (const id of order) {
    const token = tokens[id]!;
    for (let cut = 1; cut < token.length; cut++) {
      const left = ids.get(token.slice(0, cut));
      const right = left === undefined ? undefined : ids.get(token.slice(cut));
      if (right === undefined) continue;
      ranks.set(left!, right, results.length);
      pairs.push(left!, right);
      results.push(id);
    }
  }
  if (tokens.length + results.length > MAX_VOCAB_SIZE) {
    throw new Error(
      `expected at most ${MAX_VOCAB_SIZE} tokens and merges but got ${
        tokens.length + results.length
      }`,
    );
  }
  return { ranks, pairs: Int32Array.from(pairs), results: Int32Array.from(results) };
}
