/** Launches the kernel of a case. */
import type { Binding, Device } from "../../src/device/device.ts";
import { dtypeOf } from "../../src/device/dtype.ts";
import type { Case } from "./case.ts";

/** Launches a case on a device; returns the buffers that it made and bound. */
export function launchCase(
  device: Device,
  { kernel, bindings, params }: Case,
): Record<string, Binding | undefined> {
  const bound: Record<string, Binding | undefined> = {};
  for (const [name, values] of Object.entries(bindings)) {
    if (!values) continue;
    const bytes = new Uint8Array(Math.ceil(values.byteLength / 4) * 4);
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    const buffer = device.createBuffer(bytes.length);
    if (bytes.length) device.write(buffer, bytes);
    bound[name] = { buffer, dtype: dtypeOf(values), offset: 0, size: values.length };
  }
  device.launch(kernel, bound, params);
  return bound;
}
