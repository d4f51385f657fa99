/**
 * The parts of Muon (Jordan et al. 2024) that are not matrix products: the momentum, the polynomial of a
 * Newton-Schulz step, and the update.
 *
 * @module
 */
import { type GpuTarget, type Kernel, kernel } from "../../src/device/kernel.ts";
import { SIMD_CHUNK } from "../elementwise/elementwise.ts";
import { numberAt } from "../rows/rows.ts";
import muonMomentumWgsl from "./muon_momentum.wgsl" with { type: "text" };
import muonUpdateWgsl from "./muon_update.wgsl" with { type: "text" };
import newtonSchulzWgsl from "./newton_schulz.wgsl" with { type: "text" };

/** Parameters of {@linkcode muonMomentum}. */
export type MuonMomentumParams = {
  /** The number of elements. */
  count: number;
  /** The decay rate of the mean of the gradients. */
  beta: number;
  /** 1 - beta. */
  rest: number;
  /** 1 for Nesterov momentum. */
  nesterov: number;
};

/**
 * Updates momentum (count, f32) from g (count, f32 or f16), and writes x (count, f32), the direction to be
 * orthogonalised:
 *
 *     g' = gradScale[0] g
 *     momentum = beta momentum + rest g'
 *     x = momentum, or with nesterov beta momentum + rest g'
 *
 * If `gradScale[0]` is 0, momentum does not change and x is 0.
 */
export const muonMomentum: Kernel<MuonMomentumParams> = kernel<MuonMomentumParams>({
  name: "muon_momentum",
  bindings: {
    g: { read: "count" },
    momentum: { update: "count", dtype: "f32" },
    gradScale: { read: "1", dtype: "f32" },
    x: { write: "count", dtype: "f32" },
  },
  params: { count: "u32", beta: "f32", rest: "f32", nesterov: "u32" },
  gpu: ({ count, nesterov }, target) =>
    elementwise(muonMomentumWgsl, count, count % 4 === 0 && "count", target, {
      NESTEROV: nesterov === 1,
    }),
  cpu({ g, momentum, gradScale, x }, { count, beta, rest, nesterov }) {
    const scale = gradScale[0];
    if (scale === 0) return void x.fill(0, 0, count);
    for (let i = 0; i < count; i++) {
      const gradient = g[i] * scale;
      const mean = beta * momentum[i] + rest * gradient;
      momentum[i] = mean;
      x[i] = nesterov ? beta * mean + rest * gradient : mean;
    }
  },
  simd(job) {
    const { at, params: { count, beta, rest, nesterov }, run } = job;
    const scale = numberAt(job, at.gradScale!);
    if (scale === 0) return false;
    run("mul_scalar", count, SIMD_CHUNK, at.momentum!, beta, at.momentum!);
    run("axpy", count, SIMD_CHUNK, rest * scale, at.g!, at.momentum!);
    run("mul_scalar", count, SIMD_CHUNK, at.momentum!, nesterov ? beta : 1, at.x!);
    if (nesterov) run("axpy", count, SIMD_CHUNK, rest * scale, at.g!, at.x!);
    return true;
  },
  split: "count",
});

/** Parameters of {@linkcode newtonSchulz}. */
export type NewtonSchulzParams = {
  /** The number of matrices. */
  matrices: number;
  /** The rows and columns of each. */
  size: number;
  /** The factor of the identity matrix. */
  a: number;
  /** The factor of `gram`. */
  b: number;
  /** The factor of `square`. */
  c: number;
};

/** square = a I + b gram + c square, each (matrices, size, size). */
export const newtonSchulz: Kernel<NewtonSchulzParams> = kernel<NewtonSchulzParams>({
  name: "newton_schulz",
  bindings: {
    gram: { read: "matrices size size", dtype: "f32" },
    square: { update: "matrices size size", dtype: "f32" },
  },
  params: { matrices: "u32", size: "u32", a: "f32", b: "f32", c: "f32" },
  gpu: ({ matrices, size }, target) =>
    elementwise(newtonSchulzWgsl, matrices * size * size, false, target),
  cpu({ gram, square }, { matrices, size, a, b, c }) {
    for (let i = 0; i < matrices * size * size; i++) {
      const unit = i % (size * size) % (size + 1) === 0 ? a : 0;
      square[i] = unit + b * gram[i] + c * square[i];
    }
  },
  simd({ at, params: { matrices, size, a, b, c }, run, memory: { buffer } }) {
    const count = matrices * size * size;
    run("mul_scalar", count, SIMD_CHUNK, at.square!, c, at.square!);
    run("axpy", count, SIMD_CHUNK, b, at.gram!, at.square!);
    const square = new Float32Array(buffer, at.square, count);
    for (let i = 0; i < matrices; i++) {
      for (let j = 0; j < size; j++) square[(i * size + j) * size + j]! += a;
    }
    return true;
  },
  split: "matrices",
});

/** Parameters of {@linkcode muonUpdate}. */
export type MuonUpdateParams = {
  /** The number of elements. */
  count: number;
  /** The factor of x. */
  step: number;
  /** The fraction by which a parameter decays. */
  decay: number;
};

/**
 * p = p - decay p - step x, for p (count, f32) and x (count, f32); also writes the new p to `copy` (count, f16) if
 * that is given. If `gradScale[0]` is 0, nothing changes.
 */
export const muonUpdate: Kernel<MuonUpdateParams> = kernel<MuonUpdateParams>({
  name: "muon_update",
  bindings: {
    p: { update: "count", dtype: "f32" },
    x: { read: "count", dtype: "f32" },
    gradScale: { read: "1", dtype: "f32" },
    copy: { update: "count", dtype: "f16", optional: true },
  },
  params: { count: "u32", step: "f32", decay: "f32" },
  gpu: ({ count }, target) =>
    elementwise(muonUpdateWgsl, count, count % 4 === 0 && "count", target),
  cpu({ p, x, gradScale, copy }, { count, step, decay }) {
    if (gradScale[0] === 0) return;
    for (let i = 0; i < count; i++) {
      p[i] -= decay * p[i] + step * x[i];
      if (copy) copy[i] = p[i];
    }
  },
  simd(job) {
    const { at, params: { count, step, decay }, run } = job;
    if (numberAt(job, at.gradScale!) === 0) return false;
    run("mul_scalar", count, SIMD_CHUNK, at.p!, 1 - decay, at.p!);
    run("axpy", count, SIMD_CHUNK, -step, at.x!, at.p!);
    if (at.copy) run("copy", count, SIMD_CHUNK, at.p!, at.copy);
    return true;
  },
  split: "count",
});

/** Returns a program over `count` elements. Each invocation has a cost on a software adapter; a GPU needs many. */
function elementwise(
  wgsl: string,
  count: number,
  vec4: "count" | false,
  { software }: GpuTarget,
  constants: Readonly<Record<string, boolean>> = {},
) {
  const perInvocation = software ? 16 : 1;
  return {
    wgsl,
    vec4,
    constants: { ...constants, PER_INVOCATION: perInvocation },
    workgroups: Math.ceil(count / ((vec4 ? 4 : 1) * 64 * perInvocation)),
  };
}
