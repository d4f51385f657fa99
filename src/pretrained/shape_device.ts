/**
 * A device for shapes without values, like PyTorch's `meta`.
 *
 * @module
 */
import type { Device } from "../device/device.ts";

/** Creates a device whose buffers have no memory and whose launches do nothing; values cannot be read. */
export function shapeDevice(): Device {
  const device: Device = {
    kind: "cpu",
    description: "a device without memory",
    dtypes: new Set(["f32", "f16", "i32", "u32"]),
    maxBindingBytes: Infinity,
    maxBufferBytes: Infinity,
    bindingAlignment: 1,
    minWorkgroups: 1,
    lost: new Promise(() => {}),
    createBuffer: (bytes) => ({ device, bytes, released: false }),
    releaseBuffer() {},
    write() {},
    copy() {},
    read: () =>
      Promise.reject(new Error("shapeDevice: expected a device with memory to read from")),
    launch() {},
    synchronize: () => Promise.resolve(),
    memory: () => ({ live: 0, peak: 0, pooled: 0, buffers: 0 }),
    releasePooled() {},
    resetPeak() {},
    profile() {},
    timings: () => Promise.resolve([]),
    programChoices: () => ({}),
    restoreProgramChoices() {},
    close() {},
    [Symbol.dispose]() {},
  };
  return device;
}
