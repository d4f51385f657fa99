// What TensorBoard's histograms hold: counts between limits that grow by a tenth, as TensorFlow's
// own do (tensorflow/core/lib/histogram/histogram.cc), so that tiny gradients are told apart, too.

/** Counts of values, with the sums that TensorBoard's `HistogramProto` names. */
export interface ValueHistogram {
  min: number;
  max: number;
  /** Number of values. */
  num: number;
  sum: number;
  sumSquares: number;
  /** Upper limit of each bucket, ascending. A value is in the first whose limit is above it. */
  limits: number[];
  /** Number of values in each bucket. */
  counts: number[];
}

const LIMITS = (() => {
  const positive: number[] = [];
  for (let limit = 1e-12; limit < 1e20; limit *= 1.1) positive.push(limit);
  positive.push(Number.MAX_VALUE);
  return Float64Array.of(...positive.map((limit) => -limit).reverse(), 0, ...positive);
})();

/**
 * Counts values; of the empty buckets only those between others are kept.
 *
 * @throws {RangeError} where there is no value, or one is not finite
 */
export function countValues(values: ArrayLike<number>): ValueHistogram {
  if (values.length === 0) {
    throw new RangeError("expected at least one value but got none");
  }
  const buckets = new Float64Array(LIMITS.length);
  let [min, max, sum, sumSquares] = [Infinity, -Infinity, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      throw new RangeError(
        `expected finite values but got ${value} at ${i} of ${values.length}`,
      );
    }
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    sumSquares += value * value;
    buckets[bucketOf(value)]!++;
  }
  const begin = bucketOf(min);
  const end = bucketOf(max) + 1;
  return {
    min,
    max,
    num: values.length,
    sum,
    sumSquares,
    limits: [...LIMITS.subarray(begin, end)],
    counts: [...buckets.subarray(begin, end)],
  };
}

/** Index of the first limit above a value. */
function bucketOf(value: number): number {
  let low = 0;
  let high = LIMITS.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (LIMITS[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
