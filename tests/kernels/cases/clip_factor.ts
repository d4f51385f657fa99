import { clipFactor } from "../../../kernels/optimizer/grad_norm.ts";
import { type Case, output, random } from "../case.ts";

function clipped(partials: Float32Array, maxNorm: number, lossScale?: number): Case {
  return {
    kernel: clipFactor,
    name: `${partials.length} sums to at most ${maxNorm}, loss scale ${lossScale}`,
    bindings: {
      partials,
      lossScale: lossScale ? Float32Array.of(lossScale) : undefined,
      norm: output(1),
      factor: output(1),
    },
    params: { count: partials.length, maxNorm, scaled: lossScale ? 1 : 0 },
    exact: () => {
      const total = Math.fround(partials.reduce((sum, value) => sum + value, 0));
      const length = Math.sqrt(total) / (lossScale ?? 1);
      const clip = maxNorm && length > maxNorm ? maxNorm / length : 1;
      return { norm: [length], factor: [Number.isFinite(length) ? clip / (lossScale ?? 1) : 0] };
    },
    tolerance: 2e-6,
  };
}

const sums = random(1001).map(Math.abs);

export const cases: Case[] = [
  clipped(sums, 1),
  clipped(sums, 1000),
  { ...clipped(random(300_001).map(Math.abs), 1), long: true, tolerance: 1e-5 },
  clipped(sums, 0),
  clipped(Float32Array.of(0), 1),
  clipped(sums.slice(0, 4), 1),
  clipped(sums, 0.5, 8),
  clipped(sums, 1000, 8),
  clipped(Float32Array.of(1, Infinity), 1),
  clipped(Float32Array.of(1, NaN), 1),
  clipped(Float32Array.of(3e38, 3e38), 1), // overflows
];
