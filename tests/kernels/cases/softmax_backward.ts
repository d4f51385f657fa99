import { softmaxBackward } from "../../../kernels/rows/softmax_backward.ts";
import { axisCases } from "../axis_cases.ts";
import type { Case } from "../case.ts";

export const cases: Case[] = axisCases(softmaxBackward, ["dOut", "y"], "dX", ({ dOut, y }) => {
  const dot = dOut.reduce((sum, d, i) => sum + d * y[i], 0);
  return y.map((p, i) => p * (dOut[i] - dot));
});
