/**
 * Fills a tensor with random numbers, uniform or normal.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { eachRandom, philoxWgsl, STREAM_PARAMS, type StreamParams, unit } from "./philox.ts";
import source from "./random_fill.wgsl" with { type: "text" };

/** Parameters of {@linkcode randomUniform} and {@linkcode randomNormal}. */
export type RandomFillParams = StreamParams & {
  /** The number of elements. */
  count: number;
  /** The index of the first element in the stream, a multiple of 4; 0 unless a launch is split. */
  first: number;
  /** The lower bound of the interval, or the mean. */
  shift: number;
  /** The length of the interval, or the standard deviation. */
  scale: number;
};

const program = `${source}\n${philoxWgsl}`;

function fillKernel(name: string, normal: boolean): Kernel<RandomFillParams> {
  return kernel<RandomFillParams>({
    name,
    bindings: {
      y: { write: "count" },
    },
    params: { count: "u32", ...STREAM_PARAMS, first: "u32", shift: "f32", scale: "f32" },
    gpu: ({ count }) => ({
      wgsl: program,
      constants: { NORMAL: normal },
      workgroups: Math.ceil(count / 256),
    }),
    cpu({ y }, params) {
      const { shift, scale } = params;
      eachRandom(params.count, params, (i, bits) => {
        const value = normal ? normalQuantile(((bits >>> 9) + 0.5) * 2 ** -23) : unit(bits);
        y[i] = shift + scale * value;
      });
    },
    simd({ at, params, run }) {
      const { count, seed_low, seed_high, block_low, block_high, shift, scale } = params;
      const stream = [seed_low, seed_high, block_low, block_high];
      run(
        "random_fill",
        Math.ceil(count / 16),
        512,
        count,
        ...stream,
        Number(normal),
        shift,
        scale,
        at.y!,
      );
      return true;
    },
    split: "count",
    splitStart: "first",
  });
}

/** y (count) = shift + scale * u, u uniform in [0, 1). */
export const randomUniform: Kernel<RandomFillParams> = fillKernel("random_uniform", false);

/** y (count) = shift + scale * z, z normal with mean 0 and standard deviation 1. */
export const randomNormal: Kernel<RandomFillParams> = fillKernel("random_normal", true);

const CENTRE = [
  ...[2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087],
  ...[-0.00125372503, -0.00417768164, 0.246640727, 1.50140941],
];
const TAIL = [
  ...[-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773],
  ...[-0.0076224613, 0.00943887047, 1.00167406, 2.83297682],
];

/** The quantile function of the normal distribution (Giles 2010, "Approximating the erfinv function"). */
function normalQuantile(u: number): number {
  const w = -Math.log(4 * u * (1 - u));
  const [coefficients, t] = w < 5 ? [CENTRE, w - 2.5] : [TAIL, Math.sqrt(w) - 3];
  let p = 0;
  for (let i = 0; i < coefficients.length; i++) p = coefficients[i]! + p * t;
  return Math.SQRT2 * p * (2 * u - 1);
}
