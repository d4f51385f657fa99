/**
 * The micro-batch that fits on a device.
 *
 * @module
 */
import { fill } from "../../kernels/elementwise/fill.ts";
import type { Binding, Device, DeviceBuffer } from "../device/device.ts";
import { OutOfMemoryError } from "../device/errors.ts";
import type { GPT2Config } from "../models/gpt2.ts";
import { gpt2TrainingMemory, type TrainingSetup } from "./memory.ts";

/** A margin for what drivers, pipelines and rounding take beyond the formula. */
const SPARE = 1.15;

/** Options of {@linkcode fittingBatch}. */
export interface FittingBatchOptions extends Omit<TrainingSetup, "batch"> {
  /** The number of sequences per step; the batch divides it. */
  readonly sequences: number;
  /** The maximum batch to try: a larger one does not make a GPU faster. Default: 64. */
  readonly maxBatch?: number;
}

/**
 * Returns the largest power of two of sequences whose training (see {@linkcode gpt2TrainingMemory}) fits on the device,
 * or 1. WebGPU does not report how much memory there is, so the memory is allocated and freed at once; on GPUs it is
 * also filled, since some drivers hand out system memory when the GPU's is full. Call it before anything else is
 * allocated.
 *
 * @example
 * ```ts
 * import { CpuDevice, fittingBatch } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const gpt2 = { vocabSize: 512, maxPositionEmbeddings: 64, hiddenSize: 32, numHiddenLayers: 2, numAttentionHeads: 2 };
 * assert.equal(await fittingBatch(device, gpt2, { sequences: 24 }), 8);
 * ```
 */
export async function fittingBatch(
  device: Device,
  config: GPT2Config,
  options: FittingBatchOptions,
): Promise<number> {
  const { sequences, maxBatch = 64, ...setup } = options;
  for (let batch = 2 ** Math.floor(Math.log2(maxBatch)); batch > 1; batch /= 2) {
    if (sequences % batch !== 0) continue;
    const { minWorkgroups } = device;
    const { total } = gpt2TrainingMemory(config, { ...setup, batch, minWorkgroups });
    if (await hasRoom(device, total * SPARE)) return batch;
  }
  return 1;
}

/** The number of fills of a piece of memory: enough for them to take longer than waiting for their end. */
const FILLS = 8;
/**
 * A piece that takes `SLOWER` times as long as the fastest one, and at least `SHORTEST` milliseconds, is not GPU
 * memory.
 */
const SLOWER = 8, SHORTEST = 20;

async function hasRoom(device: Device, bytes: number): Promise<boolean> {
  const piece = Math.min(2 ** 30, device.maxBufferBytes);
  const taken: DeviceBuffer[] = [];
  let fastest = Infinity;
  try {
    for (let left = bytes; left > 0; left -= piece) {
      const buffer = device.createBuffer(Math.ceil(Math.min(left, piece) / 16) * 16);
      taken.push(buffer);
      await device.synchronize(); // reports a buffer that could not be created
      if (device.kind === "cpu" || device.minWorkgroups === 1) continue;
      // Metal and Windows hand out system memory when the GPU's is full.
      const milliseconds = await fillTime(device, buffer) / buffer.bytes * piece;
      fastest = Math.min(fastest, milliseconds);
      if (milliseconds > SLOWER * Math.max(fastest, SHORTEST)) return false;
    }
    return true;
  } catch (error) {
    if (error instanceof OutOfMemoryError) return false;
    throw error;
  } finally {
    taken.forEach((buffer) => device.releaseBuffer(buffer));
    device.releasePooled(); // training needs other sizes, which would come on top of these
    device.resetPeak();
  }
}

/** Returns how many milliseconds filling a buffer takes. */
async function fillTime(device: Device, buffer: DeviceBuffer): Promise<number> {
  const count = buffer.bytes / 4;
  const y: Binding = { buffer, dtype: "f32", offset: 0, size: count };
  const started = performance.now();
  for (let i = 0; i < FILLS; i++) device.launch(fill, { y }, { count, value: 0 });
  await device.synchronize();
  return performance.now() - started;
}
