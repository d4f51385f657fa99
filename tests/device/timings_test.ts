import assert from "node:assert/strict";
import { formatTimings, TimingTotals } from "../../src/device/timings.ts";

Deno.test("TimingTotals adds up calls, the longest kernel first", () => {
  const totals = new TimingTotals();
  totals.add("small", 1);
  totals.add("large", 2);
  totals.add("large", 1);
  assert.deepEqual(totals.list(), [
    { kernel: "large", calls: 2, milliseconds: 3, share: 0.75 },
    { kernel: "small", calls: 1, milliseconds: 1, share: 0.25 },
  ]);
});

Deno.test("formatTimings() aligns a table with a line for all", () => {
  const table = formatTimings([
    { kernel: "matmul", calls: 12, milliseconds: 30, share: 0.75 },
    { kernel: "add", calls: 1, milliseconds: 10, share: 0.25 },
  ]);
  assert.deepEqual(table.split("\n"), [
    "kernel  calls     ms  ms/call    share",
    "------  -----  -----  -------  -------",
    "matmul     12  30.00   2.5000   75.0 %",
    "add         1  10.00  10.0000   25.0 %",
    "all        13  40.00   3.0769  100.0 %",
  ]);
});

Deno.test("formatTimings() of nothing is a table of nothing", () => {
  assert.match(formatTimings([]), /all +0 +0.00 +- +0.0 %$/);
});
