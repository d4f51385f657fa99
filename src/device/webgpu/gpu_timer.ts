/**
 * Times kernels with timestamps that the GPU takes before and after each launch.
 *
 * @module
 */
import type { KernelTiming } from "../device.ts";
import { TimingTotals } from "../timings.ts";
import type { GpuRegion } from "./reader.ts";
import { BufferUsage } from "./flags.ts";

/** Launches that one query set can time. The batch is submitted when it is full. */
const LAUNCHES = 256;
/** Bytes of the timestamps of one query set: two of 8 bytes per launch. */
const SET_BYTES = LAUNCHES * 16;
/** Bytes of one result buffer. */
const RESULT_BYTES = 256 * SET_BYTES;

/** Timestamps of one submitted batch. */
interface TimedBatch {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  /** The kernels launched, two timestamps for each. */
  readonly kernels: readonly string[];
}

/** Reads parts of buffers after everything recorded so far. */
type Read = (regions: GpuRegion[]) => Promise<Uint8Array<ArrayBuffer>[]>;

/** Collects timestamps on the GPU until they are read. */
export class GpuTimer {
  #device: GPUDevice;
  #querySet: GPUQuerySet;
  #results: GPUBuffer[] = [];
  #used = RESULT_BYTES;
  #kernels: string[] = [];
  #batches: TimedBatch[] = [];
  #totals = new TimingTotals();
  #period: number | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#querySet = device.createQuerySet({
      label: "dinograd timings",
      type: "timestamp",
      count: 2 * LAUNCHES,
    });
  }

  /** Whether no further launch can be timed in this batch. */
  get full(): boolean {
    return this.#kernels.length >= LAUNCHES;
  }

  /** Where the next launch writes its timestamps. */
  next(kernel: string): GPUComputePassTimestampWrites {
    const first = 2 * this.#kernels.length;
    this.#kernels.push(kernel);
    return {
      querySet: this.#querySet,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
  }

  /** Saves the timestamps of the batch that `encoder` ends. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.#kernels.length === 0) return;
    if (this.#used + SET_BYTES > RESULT_BYTES) {
      this.#results.push(this.#device.createBuffer({
        label: "dinograd timings",
        size: RESULT_BYTES,
        usage: BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC,
      }));
      this.#used = 0;
    }
    const buffer = this.#results.at(-1)!;
    encoder.resolveQuerySet(this.#querySet, 0, 2 * this.#kernels.length, buffer, this.#used);
    this.#batches.push({ buffer, offset: this.#used, kernels: this.#kernels });
    this.#used += SET_BYTES;
    this.#kernels = [];
  }

  /** The times of all launches submitted so far, the longest kernel first. */
  async timings(read: Read): Promise<KernelTiming[]> {
    for (const [kernel, milliseconds] of await this.take(read)) {
      this.#totals.add(kernel, milliseconds);
    }
    return this.#totals.list();
  }

  /** Kernel and milliseconds of each launch that was submitted since the last call. */
  async take(read: Read): Promise<[kernel: string, milliseconds: number][]> {
    const batches = this.#batches, results = this.#results;
    this.#batches = [];
    this.#results = [];
    this.#used = RESULT_BYTES;
    const stamps = await read(
      batches.map(({ buffer, offset, kernels }) => ({
        buffer,
        offset,
        bytes: kernels.length * 16,
      })),
    );
    for (const buffer of results) buffer.destroy();
    const period = this.#period ??= await this.#measurePeriod(read);
    return batches.flatMap(({ kernels }, i) => {
      const times = new BigUint64Array(stamps[i]!.buffer);
      return kernels.map((kernel, k): [string, number] => {
        // Some GPUs reset their clock now and then; such a launch counts as taking no time.
        const ticks = Math.max(0, Number(times[2 * k + 1]! - times[2 * k]!));
        return [kernel, ticks * period / 1e6];
      });
    });
  }

  /**
   * The nanoseconds per tick. The standard says 1, but wgpu returns raw ticks on some GPUs (10 ns on AMD's, 52 or 83 ns
   * on Intel's), so two marks are compared with the system clock.
   */
  async #measurePeriod(read: Read): Promise<number> {
    const first = await this.#mark(read);
    await new Promise((resolve) => setTimeout(resolve, 30));
    const second = await this.#mark(read);
    const period = (second.host - first.host) * 1e6 / Number(second.ticks - first.ticks);
    const likely = period >= 2 && period < 1000;
    return likely ? period : 1;
  }

  /** A tick of the idle GPU, and the system time in milliseconds. */
  async #mark(read: Read): Promise<{ ticks: bigint; host: number }> {
    const buffer = this.#device.createBuffer({
      label: "dinograd clock",
      size: 256,
      usage: BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC,
    });
    const encoder = this.#device.createCommandEncoder({ label: "dinograd clock" });
    const timestampWrites = { querySet: this.#querySet, beginningOfPassWriteIndex: 0 };
    encoder.beginComputePass({ label: "dinograd clock", timestampWrites }).end();
    encoder.resolveQuerySet(this.#querySet, 0, 1, buffer, 0);
    const host = performance.now();
    this.#device.queue.submit([encoder.finish()]);
    const [bytes] = await read([{ buffer, offset: 0, bytes: 8 }]);
    buffer.destroy();
    return { ticks: new BigUint64Array(bytes!.buffer)[0]!, host };
  }

  /** Frees the results. */
  destroy(): void {
    for (const buffer of this.#results) buffer.destroy();
    this.#querySet.destroy();
  }
}
