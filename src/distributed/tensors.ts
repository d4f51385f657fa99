/**
 * Access to the values of tensors for calls that need them in host memory.
 *
 * @module
 */
import { CpuDevice } from "../device/cpu/cpu_device.ts";
import type { Binding, Region } from "../device/device.ts";
import { BYTES, type TypedArray, viewOf } from "../device/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Communicator } from "./communicator.ts";

/**
 * Applies `change` to the values of bindings, all on one device: on the CPU in place, started before this returns; from
 * a GPU they are read in one wait and written back as each is done.
 */
export async function onHost(
  bindings: readonly Binding[],
  change: (values: TypedArray) => Promise<void>,
): Promise<void> {
  const device = bindings[0]?.buffer.device;
  if (!device) return;
  const isCpu = device instanceof CpuDevice;
  const regions = bindings.map(regionOf);
  const parts = isCpu ? regions.map((part) => device.view(part)) : await device.read(regions);
  await Promise.all(bindings.map(async ({ buffer, dtype, size }, i) => {
    const bytes = parts[i]!;
    await change(viewOf(dtype, bytes.buffer, bytes.byteOffset, size));
    if (!isCpu) device.write(buffer, bytes, regions[i]!.byteOffset);
  }));
}

/** Copies the values of rank `root` (default: 0) into the tensors of all other ranks; all tensors are on one device. */
export async function broadcastTensors(
  communicator: Communicator,
  tensors: readonly Tensor[],
  root?: number,
): Promise<void> {
  await onHost(tensors, (values) => communicator.broadcast(values, root));
}

/** Returns the bytes of a binding, in whole words. */
function regionOf({ buffer, dtype, offset, size }: Binding): Region {
  const bytes = BYTES[dtype];
  return { buffer, byteOffset: offset * bytes, byteLength: Math.ceil(size * bytes / 4) * 4 };
}
