import { muonMomentum, muonUpdate, newtonSchulz } from "../../../kernels/optimizer/muon.ts";
import { type Case, output, random } from "../case.ts";

interface Options extends Partial<Case> {
  readonly scale?: number;
  readonly nesterov?: number;
  /** Gradients, or a copy of the parameters, in f16. */
  readonly half?: boolean;
}

function averaged(count: number, options: Options = {}): Case {
  const { scale = 0.5, nesterov = 1, half = false, ...more } = options;
  const g = half ? Float16Array.from(random(count, 4, 2)) : random(count, 4, 2);
  const momentum = random(count, 1, 3);
  const beta = 0.95;
  return {
    kernel: muonMomentum,
    name: `${count} elements, nesterov ${nesterov}${half ? ", f16" : ""}`,
    bindings: { g, momentum, gradScale: Float32Array.of(scale), x: output(count) },
    params: { count, beta, rest: 1 - beta, nesterov },
    exact: () => {
      if (scale === 0) return { momentum, x: new Float32Array(count) };
      const mean = Array.from(momentum, (old, i) => beta * old + (1 - beta) * scale * g[i]);
      const ahead = mean.map((value, i) => beta * value + (1 - beta) * scale * g[i]);
      return { momentum: mean, x: nesterov ? ahead : mean };
    },
    tolerance: 1e-6,
    ...more,
  };
}

function polynomial(matrices: number, size: number, more: Partial<Case> = {}): Case {
  const count = matrices * size * size;
  const [gram, square] = [random(count, 1, 4), random(count, 1, 5)];
  const [a, b, c] = [3.4445, -4.775, 2.0315];
  return {
    kernel: newtonSchulz,
    name: `${matrices} of ${size} x ${size}`,
    bindings: { gram, square },
    params: { matrices, size, a, b, c },
    exact: () => ({
      square: Array.from(square, (value, i) => {
        const [row, column] = [Math.floor(i / size) % size, i % size];
        return (row === column ? a : 0) + b * gram[i] + c * value;
      }),
    }),
    tolerance: 1e-6,
    ...more,
  };
}

function moved(count: number, { scale = 0.5, half = false, ...more }: Options = {}): Case {
  const [p, x] = [random(count, 1, 6), random(count, 1, 7)];
  const [step, decay] = [0.03, 0.002];
  return {
    kernel: muonUpdate,
    name: `${count} elements${half ? ", f16 copy" : ""}`,
    bindings: {
      ...{ p, x, gradScale: Float32Array.of(scale) },
      copy: half ? Float16Array.from(output(count)) : undefined,
    },
    params: { count, step, decay },
    exact: () => ({
      p: scale === 0 ? p : Array.from(p, (old, i) => old - decay * old - step * x[i]),
    }),
    tolerance: half ? 1e-3 : 1e-6,
    exactTolerance: 1e-6,
    ...more,
  };
}

const limit = 4096;

export const cases: Case[] = [
  averaged(0),
  averaged(1000),
  averaged(1001, { nesterov: 0 }),
  averaged(1001, { half: true }),
  averaged(100, { scale: 0, name: "a refused step" }),
  averaged(5000, { name: "over the binding limit", limit }),
  polynomial(1, 1),
  polynomial(3, 7),
  polynomial(2, 64),
  polynomial(9, 16, { name: "matrices over the binding limit", limit }),
  moved(0),
  moved(1001),
  moved(1000, { half: true }),
  moved(100, { scale: 0, name: "an update that is refused" }),
  moved(5000, { name: "parameters over the binding limit", limit }),
];
