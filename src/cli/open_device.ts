/** Opens the device that a command line asks for. */
import { type Communicator, type Device, openDevice } from "../../mod.ts";
import type { DeviceOptions } from "./arguments.ts";

/** See the module's text. Ranks of one machine share its cores. */
export function openChosenDevice(
  { device, gpu }: DeviceOptions,
  communicator?: Communicator,
): Promise<Device> {
  const { rank, hosts } = communicator ?? { rank: 0, hosts: [] };
  const neighbours = hosts.filter((host) => host === hosts[rank]).length;
  const threads = neighbours > 1
    ? Math.max(1, Math.floor(navigator.hardwareConcurrency / neighbours))
    : undefined;
  return openDevice({
    kind: device === "auto" ? undefined : device,
    gpu,
    threads,
    log: rank > 0 ? false : undefined,
  });
}
