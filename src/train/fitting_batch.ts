/**
 * The micro-batch that a device has room for.
 *
 * @module
 */
import type { Device, DeviceBuffer } from "../device/device.ts";
import { OutOfMemoryError } from "../device/errors.ts";
import type { GPT2Config } from "../models/gpt2.ts";
import { gpt2TrainingMemory, type TrainingSetup } from "./memory.ts";

/** What drivers, pipelines and rounding take beside the formula. */
const SPARE = 1.15;

/** Options of {@linkcode fittingBatch}. */
export interface FittingBatchOptions extends Omit<TrainingSetup, "batch"> {
  /** Sequences of a step; the batch divides them. */
  readonly sequences: number;
  /** The largest batch to try: a larger one does not make a GPU faster. Default: 64. */
  readonly maxBatch?: number;
}

/**
 * The largest power of two of sequences whose training (see {@linkcode gpt2TrainingMemory}) the device has room for, or
 * 1. WebGPU does not tell how much memory there is, so the memory is allocated and given back at once. Call it before
 * anything else is allocated.
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

async function hasRoom(device: Device, bytes: number): Promise<boolean> {
  const piece = Math.min(2 ** 30, device.maxBufferBytes);
  const taken: DeviceBuffer[] = [];
  try {
    for (let left = bytes; left > 0; left -= piece) {
      taken.push(device.createBuffer(Math.ceil(Math.min(left, piece) / 16) * 16));
      await device.synchronize(); // tells of a buffer that could not be made
    }
    return true;
  } catch (error) {
    if (error instanceof OutOfMemoryError) return false;
    throw error;
  } finally {
    taken.forEach((buffer) => device.releaseBuffer(buffer));
    device.releasePooled(); // training asks for other sizes, which would come on top
    device.resetPeak();
  }
}
