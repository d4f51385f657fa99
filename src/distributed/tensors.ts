/**
 * Values of tensors for calls that need them in the memory of the host.
 *
 * @module
 */
import { CpuDevice } from "../device/cpu/cpu_device.ts";
import type { Binding, Region } from "../device/device.ts";
import { BYTES, type TypedArray, viewOf } from "../device/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Communicator } from "./communicator.ts";

/**
 * Has `change` work on the values of bindings, all of one device: on the CPU where they lie, begun before this returns; those of
 * a GPU are read in one wait and written back as each is done.
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

/** Copies the values of the rank `root` (default 0) into the tensors of all others, which are of one device. */
export async function broadcastTensors(
  communicator: Communicator,
  tensors: readonly Tensor[],
  root?: number,
): Promise<void> {
  await onHost(tensors, (values) => communicator.broadcast(values, root));
}

/** The bytes of a binding, in whole words. */
function regionOf({ buffer, dtype, offset, size }: Binding): Region {
  const bytes = BYTES[dtype];
  return { buffer, byteOffset: offset * bytes, byteLength: Math.ceil(size * bytes / 4) * 4 };
}
