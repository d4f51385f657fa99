import { softmax, softmaxBackward, type SoftmaxParams } from "../../../kernels/rows/softmax.ts";
import type { Kernel } from "../../../src/device/kernel.ts";
import { isDawn } from "../../support/gpu.ts";
import { type Case, LONG, output, random } from "../case.ts";

// deno-fmt-ignore
const SHAPES = [[3, 12, 1], [5, 13, 1], [2, 1500, 1], [3, 5, 4], [2, 7, 3], [0, 8, 1], [4, 0, 1]];
// More rows than a dimension has workgroups; SwiftShader takes many seconds for them.
if (!isDawn) SHAPES.push([66_000, 2, 1]);

const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

export const cases: Case[] = [
  ...axisCases(softmax, 0, ["x"], "y", ({ x }) => {
    const e = x.map((v) => Math.exp(v - Math.max(...x)));
    return e.map((v) => v / sum(e));
  }),
  ...axisCases(softmax, 1, ["x"], "y", ({ x }) => {
    const top = Math.max(...x);
    const log = Math.log(sum(x.map((v) => Math.exp(v - top))));
    return x.map((v) => v - top - log);
  }),
  ...axisCases(softmaxBackward, 0, ["dOut", "y"], "dX", ({ dOut, y }) => {
    const dot = sum(dOut.map((d, i) => d * y[i]));
    return y.map((p, i) => p * (dOut[i] - dot));
  }),
  ...axisCases(softmaxBackward, 1, ["dOut", "y"], "dX", ({ dOut, y }) => {
    const total = sum(dOut);
    return dOut.map((d, i) => d - Math.exp(y[i]) * total);
  }),
];

/** `exact` computes a row of the output from the rows of the inputs. */
function axisCases(
  kernel: Kernel<SoftmaxParams>,
  log: 0 | 1,
  inputs: string[],
  result: string,
  exact: (rows: Record<string, number[]>) => number[],
): Case[] {
  const name = log ? "log, " : "";
  const make = (shape: number[], more: Partial<Case> = {}, half = false): Case => {
    const [outer, columns, inner] = shape, size = outer * columns * inner;
    const values = Object.fromEntries(inputs.map((name, i) => {
      const numbers = random(size, 2, i + 1);
      return [name, half ? Float16Array.from(numbers) : numbers];
    }));
    return {
      kernel,
      name: `${name}${half ? "f16 " : ""}${outer} x ${columns} x ${inner}`,
      bindings: { ...values, [result]: half ? new Float16Array(size) : output(size) },
      params: { outer, columns, inner, log },
      tolerance: half ? 2e-3 : 2e-5,
      exact: () => {
        const whole = new Float64Array(size);
        for (let row = 0; row < outer * inner && columns > 0; row++) {
          const at = (c: number) => (Math.floor(row / inner) * columns + c) * inner + row % inner;
          const rows = Object.fromEntries(inputs.map((name) => [
            name,
            Array.from({ length: columns }, (_, c) => Number(values[name][at(c)])),
          ]));
          exact(rows).forEach((value, c) => whole[at(c)] = value);
        }
        return { [result]: whole };
      },
      ...more,
    };
  };
  return [
    ...SHAPES.map((shape) => make(shape)),
    make([300, 12, 1], { name: `${name}over the binding limit`, limit: 4096 }),
    make([96, 5, 4], { name: `${name}over the binding limit, inner axis`, limit: 4096 }),
    ...[...LONG.map((columns) => [2, columns, 1]), [1, 50_304, 1], [1, 65_537, 2]].map((shape) =>
      make(shape, { long: true, exact: undefined, tolerance: 1e-3 })
    ),
    make([3, 12, 1], {}, true),
    make([3, 13, 2], {}, true),
  ];
}
