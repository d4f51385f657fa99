/**
 * Writes `docs/OPERATIONS.md`: which operation works on which device, in which dtype, and whether it has a
 * gradient, found out by running them all. Needs a WebGPU adapter with `shader-f16`; Mesa's software
 * adapter is one.
 *
 *     deno run -A tools/operations_table.ts
 */
import { CpuDevice } from "../src/device/cpu/cpu_device.ts";
import { WebGpuDevice } from "../src/device/webgpu/webgpu_device.ts";
import { renderTable, runOperations } from "./operations/table.ts";

using cpu = CpuDevice.open();
using webgpu = await WebGpuDevice.open();
if (!webgpu.dtypes.has("f16")) {
  throw new Error(`${webgpu.description} has no f16 to fill its column`);
}
const page = renderTable({ cpu: await runOperations(cpu), webgpu: await runOperations(webgpu) });
await Deno.writeTextFile(new URL("../docs/OPERATIONS.md", import.meta.url), page);
