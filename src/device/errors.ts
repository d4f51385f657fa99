/**
 * Errors of devices.
 *
 * @module
 */

/** A device rejected a launch, a pipeline or a buffer. The message names the kernel or the buffer. */
export class DeviceError extends Error {
  /** `DeviceError`. */
  override name = "DeviceError";
}

/** There was not enough memory. The message says how much was requested, what is in use, and what to reduce. */
export class OutOfMemoryError extends DeviceError {
  /** `OutOfMemoryError`. */
  override name = "OutOfMemoryError";
}

/** The device was lost (driver reset, unplugged, {@linkcode Device.close}). A new one must be opened. */
export class DeviceLostError extends DeviceError {
  /** `DeviceLostError`. */
  override name = "DeviceLostError";
}
