import { logSoftmaxBackward } from "../../../kernels/rows/log_softmax_backward.ts";
import { axisCases } from "../axis_cases.ts";
import type { Case } from "../case.ts";

export const cases: Case[] = axisCases(logSoftmaxBackward, ["dOut", "y"], "dX", ({ dOut, y }) => {
  const sum = dOut.reduce((a, b) => a + b, 0);
  return dOut.map((d, i) => d - Math.exp(y[i]) * sum);
});
