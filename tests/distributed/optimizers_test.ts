// Gradients, the parts of an optimizer and DiLoCo on several ranks.
import assert from "node:assert/strict";
import { onLauncher, runRanks } from "../support/mpi.ts";

const program = new URL("optimizers.ts", import.meta.url).pathname;

for (const [launcher, ranks] of [["openmpi", 3], ["mpich", 2]] as const) {
  onLauncher(
    `buckets, ZeRO and DiLoCo on ${ranks} ranks compute what one does`,
    launcher,
    async () => {
      const { code, text } = await runRanks(launcher, ranks, ["-A", program]);
      assert.equal(code, 0, text);
      assert.equal(text.match(/rank \d: \d+ of \d+ bytes/g)?.length, ranks, text);
    },
  );
}
