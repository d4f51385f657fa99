// Keeps docs/OPERATIONS.md true: every operation has a row, and every row is what happens.
import assert from "node:assert/strict";
import * as operations from "../../src/ops/mod.ts";
import { Inputs } from "../../tools/operations/case.ts";
import { groups, helpers } from "../../tools/operations/cases.ts";
import { DTYPES, renderTable, runOperations } from "../../tools/operations/table.ts";
import type { Shape } from "../../src/tensor/shape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { testDevices, testWebGpu } from "../support/devices.ts";

Deno.test("the table has every operation of src/ops", () => {
  const covered = new Set<unknown>(groups.flatMap((group) => group.cases.map(({ op }) => op)));
  for (const [name, value] of Object.entries(operations)) {
    if (typeof value !== "function" || helpers.has(name)) continue;
    assert.ok(
      covered.has(value),
      `src/ops/mod.ts exports ${name}: give it a case in tools/operations/cases.ts`,
    );
  }
});

/** Inputs that were disposed of. */
class Disposed extends Inputs {
  made = 0;

  override values(shape: Shape, seed?: number): Tensor {
    this.made++;
    const x = super.values(shape, seed);
    x.dispose();
    return x;
  }
}

Deno.test("every operation refuses a disposed tensor by its own name", async () => {
  const [device] = await testDevices();
  for (const { call, run } of groups.flatMap(({ cases }) => cases)) {
    const inputs = new Disposed(device, "f32");
    let message = "none";
    try {
      run(inputs);
    } catch (error) {
      ({ message } = error as Error);
    }
    if (inputs.made === 0) continue; // it has no tensor among its arguments
    assert.match(message, /^\w+: expected a tensor in use but got Tensor \[/, call);
  }
});

Deno.test({
  name: "docs/OPERATIONS.md says what the operations do",
  sanitizeResources: false, // the devices live as long as the process
  sanitizeOps: false,
  fn: async () => {
    const page = await Deno.readTextFile(new URL("../../docs/OPERATIONS.md", import.meta.url));
    const [cpu] = await testDevices();
    const webgpu = await testWebGpu();
    const columns = { cpu: await runOperations(cpu), webgpu: await runOperations(webgpu ?? cpu) };
    if (webgpu?.dtypes.has("f16")) {
      assert.equal(page, renderTable(columns), "rewrite it with `deno task docs`");
      return;
    }
    // What cannot be seen here is taken from the page.
    console.warn(
      `docs/OPERATIONS.md: ${
        webgpu ? "its f16" : "the whole"
      } WebGPU column is not checked on this machine`,
    );
    const blind = DTYPES.flatMap((dtype, i) => !webgpu || dtype === "f16" ? [5 + i] : []);
    assert.equal(without(page, blind), without(renderTable(columns), blind));
  },
});

/** The page without some columns of its tables, the call being column 0. */
function without(page: string, columns: readonly number[]): string {
  return page.split("\n").map((line) =>
    line.startsWith("| `")
      ? line.split(" | ").filter((_, column) => !columns.includes(column)).join(" | ")
      : line
  ).join("\n");
}
