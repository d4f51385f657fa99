import { crossEntropyCount } from "../../../kernels/rows/cross_entropy.ts";
import { type Case, output, randomIds } from "../case.ts";

function counted(rows: number, ignoreIndex: number): Case {
  const targets = randomIds(rows, 7);
  return {
    kernel: crossEntropyCount,
    name: `${rows} rows without ${ignoreIndex}`,
    bindings: { targets, scale: output(1) },
    params: { rows, classes: 7, ignoreIndex },
    exact: () => {
      const count = targets.filter((target) => target !== ignoreIndex).length;
      return { scale: [count ? 1 / count : NaN] };
    },
    tolerance: 1e-6,
  };
}

export const cases: Case[] = [
  counted(0, -100),
  counted(1, 0),
  counted(1000, 3),
  counted(1001, -1),
  { ...counted(300_001, 2), long: true },
];
