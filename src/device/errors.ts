/**
 * What can go wrong below the tensors.
 *
 * @module
 */

/** A device refused a launch, a pipeline or a buffer; the message names the kernel or the buffer. */
export class DeviceError extends Error {
  /** `DeviceError`. */
  override name = "DeviceError";
}

/** There was no room: says how much was asked for, what is in use, and what to lower. */
export class OutOfMemoryError extends DeviceError {
  /** `OutOfMemoryError`. */
  override name = "OutOfMemoryError";
}

/** The device went away (driver reset, unplugged, {@linkcode Device.close}); a new one must be opened. */
export class DeviceLostError extends DeviceError {
  /** `DeviceLostError`. */
  override name = "DeviceLostError";
}
