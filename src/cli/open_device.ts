/** Opens the device that a command line asks for. */
import { type Device, openDevice } from "../../mod.ts";
import type { DeviceOptions } from "./arguments.ts";

/** See the module's text. */
export function openChosenDevice({ device, gpu, tune }: DeviceOptions): Promise<Device> {
  return openDevice({ kind: device === "auto" ? undefined : device, gpu, tune });
}
