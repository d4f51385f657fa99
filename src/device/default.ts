/**
 * The default device.
 *
 * @module
 */
import type { Device } from "./device.ts";

let current: Device | undefined;

/**
 * Returns the default device: the first that was opened, or the one given to {@linkcode setDefaultDevice}. Throws if
 * there is none.
 */
export function defaultDevice(): Device {
  if (current) return current;
  throw new Error(
    "expected an open device but got none: call `await openDevice()` first, or name one as `device`",
  );
}

/** Whether there is a default device. */
export function hasDefaultDevice(): boolean {
  return current !== undefined;
}

/** Makes `device` the default; `undefined` leaves none. A device that is lost or closed stops being the default. */
export function setDefaultDevice(device: Device | undefined): void {
  current = device;
  device?.lost.catch(() => {
    if (current === device) current = undefined;
  });
}
