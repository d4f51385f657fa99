/**
 * Frees the memory of forgotten tensors once JavaScript's garbage collector has found them. V8 does not see how much
 * memory a device's buffers take, and runs finalizers only between tasks, so a loop that forgets its tensors needs a
 * little help.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { mebibytes } from "../device/out_of_memory.ts";

/** Memory that is freed when it has no user left. */
export interface Forgettable {
  /** Its size. */
  readonly bytes: number;
  /** Releases one reference. */
  release(): void;
}

/** How far live bytes may grow between two reads before a garbage collection is requested. */
const GROWTH = 64 * 2 ** 20;
/** The size of an external allocation that makes V8 collect. It is never touched, so it takes no memory. */
const PRESSURE = 128 * 2 ** 20;
/** Bytes found by the collector at which a warning is printed. */
const WORTH_A_WARNING = 256 * 2 ** 20;

const levels = new WeakMap<Device, number>();
let found = 0;
let warned = false;

/** The registry of tensors and their memory. */
export const forgotten: FinalizationRegistry<Forgettable> = new FinalizationRegistry((memory) => {
  memory.release();
  found += memory.bytes;
  if (warned || found < WORTH_A_WARNING) return;
  warned = true;
  console.warn(
    `dinograd: ${
      mebibytes(found)
    } of tensors were left to the garbage collector, which is slow and may come too ` +
      "late: open a Scope around each step (`using _scope = new Scope()`), and noGrad around evaluation",
  );
});

/** Lets the collector find forgotten tensors if the memory in use has grown since last time; cheap if not. */
export async function collectForgotten(device: Device): Promise<void> {
  const { live } = device.memory();
  const level = levels.get(device);
  // The level never falls: a loop that reads at two levels would ask for a collection in every step.
  if (level !== undefined && live <= level + GROWTH) return;
  if (level !== undefined) {
    for (let bytes = 0; bytes < PRESSURE; bytes += PRESSURE / 4) void new ArrayBuffer(PRESSURE / 4);
    await new Promise((resolve) => setTimeout(resolve, 0)); // finalizers are tasks of their own
  }
  levels.set(device, Math.max(level ?? 0, device.memory().live));
}
