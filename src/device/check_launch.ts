/**
 * Checks of a launch against the kernel's specification, the same on every device.
 *
 * @module
 */
import type { Binding, Device } from "./device.ts";
import { BYTES } from "./dtype.ts";
import { DeviceError } from "./errors.ts";
import type { Kernel, Params } from "./kernel.ts";
import { type BindingSlot, sizeOfAxes } from "./kernel_spec.ts";
import type { Bindings } from "./splitting.ts";

/**
 * Throws a {@linkcode DeviceError} unless the parameters and bindings are those that the kernel declares, with the
 * declared types and sizes, and each binding is aligned, in a live buffer of this device, and not written where another
 * one reads or writes.
 */
export function checkLaunch<P extends Params>(
  kernel: Kernel<P>,
  bindings: Bindings,
  params: P,
  device: Device,
): void {
  checkParams(kernel, params);
  const { name, slots } = kernel;
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i]!;
    const binding = bindings[slot.name];
    if (binding) {
      checkBinding(name, slot, binding, params, device);
      for (let j = 0; j < i; j++) {
        checkOverlap(name, slots[j]!, bindings[slots[j]!.name], slot, binding);
      }
    } else if (!slot.optional) fail(name, `binding "${slot.name}"`, "none");
  }
  for (const given in bindings) {
    if (bindings[given] && !(given in kernel.bindings)) {
      fail(name, `bindings ${Object.keys(kernel.bindings).join(", ")}`, `"${given}"`);
    }
  }
}

function checkParams<P extends Params>(kernel: Kernel<P>, params: P): void {
  const { name, fields, params: types } = kernel;
  for (const [key, type] of fields) {
    const value: number | undefined = params[key]!;
    const valid = type === "u32"
      ? value >>> 0 === value
      : type === "i32"
      ? (value | 0) === value
      : typeof value === "number";
    if (!valid) fail(name, `parameter "${key}" to be ${type}`, `${value}`);
  }
  for (const key in params) {
    if (!(key in types)) fail(name, `parameters ${Object.keys(types).join(", ")}`, `"${key}"`);
  }
}

function checkBinding(
  kernel: string,
  slot: BindingSlot,
  binding: Binding,
  params: Params,
  device: Device,
): void {
  const { buffer, dtype, offset, size } = binding;
  if (buffer.device !== device) {
    fail(
      kernel,
      `binding "${slot.name}" to be on this device`,
      `a buffer of another one, ${buffer.device.description}`,
    );
  }
  if (buffer.released) {
    fail(kernel, `binding "${slot.name}" to be in use`, "a buffer that was released");
  }
  if (slot.dtype && dtype !== slot.dtype && !(slot.dtype === "i32" && dtype === "u32")) {
    fail(kernel, `binding "${slot.name}" to be ${slot.dtype}`, dtype);
  }
  if (!device.dtypes.has(dtype)) {
    fail(
      kernel,
      `binding "${slot.name}" to be one of ${[...device.dtypes].join(", ")}, which this device has`,
      dtype,
    );
  }
  const axes = slot.axes(params);
  if (!axes.includes("*")) {
    const elements = sizeOfAxes(axes, params);
    if (size !== elements) {
      fail(
        kernel,
        `binding "${slot.name}" to have ${elements} elements (${axes.join(" ")})`,
        `${size}`,
      );
    }
  }
  if (size === 0) return;
  const first = offset * BYTES[dtype];
  if (!(first >= 0 && first + size * BYTES[dtype] <= buffer.bytes)) {
    fail(
      kernel,
      `binding "${slot.name}" to lie within a buffer of ${buffer.bytes} bytes`,
      `elements ${offset} to ${offset + size} of ${dtype}`,
    );
  }
  if (first % device.bindingAlignment !== 0) {
    fail(
      kernel,
      `binding "${slot.name}" to start at a multiple of ${device.bindingAlignment} bytes`,
      `${first}`,
    );
  }
}

/**
 * A buffer that is written may be bound only once, or in parts that do not overlap and are all written (WebGPU's own
 * rule).
 */
function checkOverlap(
  kernel: string,
  slot: BindingSlot,
  binding: Binding | undefined,
  later: BindingSlot,
  laterBinding: Binding,
): void {
  if (binding?.buffer !== laterBinding.buffer || !binding.size || !laterBinding.size) return;
  const write = slot.access !== "read", laterWrite = later.access !== "read";
  if (!write && !laterWrite) return;
  if (write && laterWrite) {
    const first = binding.offset * BYTES[binding.dtype];
    const laterFirst = laterBinding.offset * BYTES[laterBinding.dtype];
    if (first + spanOf(binding) <= laterFirst || laterFirst + spanOf(laterBinding) <= first) return;
  }
  fail(
    kernel,
    `bindings "${slot.name}" and "${later.name}" to be different buffers, as "${
      (laterWrite ? later : slot).name
    }" is written,`,
    "the same",
  );
}

/**
 * The bytes that are bound: at least 16, so that a program can access the elements as vec4. Buffers have room for that.
 */
export function spanOf({ size, dtype }: Binding): number {
  return Math.max(16, Math.ceil(size * BYTES[dtype] / 4) * 4);
}

function fail(kernel: string, expected: string, found: string): never {
  throw new DeviceError(`kernel "${kernel}": expected ${expected} but got ${found}`);
}
