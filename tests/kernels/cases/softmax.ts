import { softmax } from "../../../kernels/rows/softmax.ts";
import { axisCases } from "../axis_cases.ts";
import type { Case } from "../case.ts";

export const cases: Case[] = axisCases(softmax, ["x"], "y", ({ x }) => {
  const e = x.map((v) => Math.exp(v - Math.max(...x)));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
});
