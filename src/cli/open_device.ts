/** Opens the device that a command line asks for. */
import {
  type Communicator,
  coresPerRank,
  type Device,
  openDevice,
  SingleProcess,
} from "../../mod.ts";
import type { DeviceOptions } from "./arguments.ts";

/** The milliseconds between two lines about compiling. */
const LINE_EVERY = 2000;

/** See the module's text. Ranks on one machine share its cores, and only the first one writes messages. */
export function openChosenDevice(
  { device, gpu, tune }: DeviceOptions,
  communicator: Communicator = new SingleProcess(),
): Promise<Device> {
  const { rank, hosts } = communicator;
  let [begun, last] = [0, -Infinity];
  const onCompile = (_kernel: string, count: number): void => {
    const now = performance.now();
    if (now - last > LINE_EVERY) begun = now; // the first of many in a row
    last = now;
    if (now - begun < LINE_EVERY) return;
    console.error(`compiling GPU kernels: ${count}`);
    begun = now;
  };
  return openDevice({
    kind: device === "auto" ? undefined : device,
    gpu,
    tune,
    onCompile: rank > 0 ? undefined : onCompile,
    threads: hosts.length > 1 ? coresPerRank(communicator) : undefined,
    log: rank > 0 ? false : undefined,
  });
}
