// The types of kernels that programs declare; `deno check` is the test.
import { kernel } from "../../kernel.ts";
import type { Device } from "../../src/device/device.ts";

const scale = kernel({
  name: "scale",
  bindings: { x: { update: "count" } },
  params: { count: "u32", factor: "f32" },
  split: "count",
  cpu({ x }, { count, factor }) {
    for (let i = 0; i < count; i++) x[i] *= factor;
  },
});

Deno.test("a launch takes exactly the parameters that its kernel names", () => {
  const check = (device: Device) => {
    device.launch(scale, {}, { count: 1, factor: 2 });
    // @ts-expect-error -- factor is missing
    device.launch(scale, {}, { count: 1 });
    // @ts-expect-error -- there is no such parameter
    return (params: Parameters<typeof scale.cpu>[1]) => params.faktor;
  };
  void check;
});
