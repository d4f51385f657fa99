import { logSoftmax } from "../../../kernels/rows/log_softmax.ts";
import { axisCases } from "../axis_cases.ts";
import type { Case } from "../case.ts";

export const cases: Case[] = axisCases(logSoftmax, ["x"], "y", ({ x }) => {
  const top = Math.max(...x);
  const log = Math.log(x.reduce((sum, v) => sum + Math.exp(v - top), 0));
  return x.map((v) => v - top - log);
});
