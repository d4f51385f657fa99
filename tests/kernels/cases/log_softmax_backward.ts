import { logSoftmaxBackward } from "../../../kernels/log_softmax_backward.ts";
import { axisCases } from "./rows.ts";
import type { Case } from "../case.ts";

export const cases: Case[] = axisCases(logSoftmaxBackward, ["dy", "y"], "dx", ({ dy, y }) => {
  const sum = dy.reduce((a, b) => a + b, 0);
  return dy.map((d, i) => d - Math.exp(y[i]) * sum);
});
