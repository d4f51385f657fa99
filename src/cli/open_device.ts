/** Opens the device that a command line asks for. */
import { type Device, openDevice } from "../../mod.ts";
import type { DeviceOptions } from "./arguments.ts";

/** Milliseconds between two lines about compiling. */
const LINE_EVERY = 2000;

/** See the module's text. */
export function openChosenDevice({ device, gpu, tune }: DeviceOptions): Promise<Device> {
  let [begun, last] = [0, -Infinity];
  const onCompile = (_kernel: string, count: number): void => {
    const now = performance.now();
    if (now - last > LINE_EVERY) begun = now; // the first of many in a row
    last = now;
    if (now - begun < LINE_EVERY) return;
    console.error(`compiling the GPU's programs: ${count}`);
    begun = now;
  };
  return openDevice({ kind: device === "auto" ? undefined : device, gpu, tune, onCompile });
}
