/**
 * The WebGPU device: Deno's `navigator.gpu`, or any object with that interface.
 *
 * @module
 */
import { checkLaunch } from "../check_launch.ts";
import type { Device, DeviceBuffer, KernelTiming, MemoryReport, Region } from "../device.ts";
import type { DType, TypedArray } from "../dtype.ts";
import { DeviceError, DeviceLostError, type OutOfMemoryError } from "../errors.ts";
import type { Kernel, Params } from "../kernel.ts";
import type { Purpose } from "../out_of_memory.ts";
import { type Bindings, needsSplit, splitLaunch } from "../splitting.ts";
import {
  adapterName,
  hasMatrixUnits,
  isSoftwareAdapter,
  openAdapter,
  type OpenedAdapter,
  type WebGpuOptions,
} from "./adapter.ts";
import { type Allocation, BufferPool } from "./buffer_pool.ts";
import { Faults } from "./faults.ts";
import { GpuTimer } from "./gpu_timer.ts";
import { Launcher } from "./launcher.ts";
import { Pace } from "./pace.ts";
import { type GpuRegion, Reader } from "./reader.ts";
import { Recorder } from "./recorder.ts";
import { BufferUsage } from "./flags.ts";
import { storeChoices, storedChoices, Tuner } from "./tuner.ts";

export type { Tune, WebGpuLimits, WebGpuOptions } from "./adapter.ts";

/** Two for each of the 132 multiprocessors of an H200, since WebGPU does not reveal how many a GPU has. Not tuned. */
const GPU_WORKGROUPS = 264;

/** Maximum bytes of a write that goes through the batch's arena; for longer ones that does not pay off. */
const SMALL_WRITE = 16 * 1024;
/** Bytes of longer writes after which they are submitted: until then, wgpu keeps a copy of each. */
const UNSUBMITTED_WRITES = 128 * 2 ** 20;

class WebGpuBuffer implements DeviceBuffer {
  released = false;
  constructor(
    readonly device: WebGpuDevice,
    readonly bytes: number,
    readonly allocation: Allocation,
  ) {}
}

/** A WebGPU device. Open one with {@linkcode WebGpuDevice.open} or `openDevice`. */
export class WebGpuDevice implements Device {
  readonly kind = "webgpu";
  readonly description: string;
  readonly dtypes: ReadonlySet<DType>;
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  readonly bindingAlignment: number;
  readonly minWorkgroups: number;
  readonly lost: Promise<never>;
  /** Whether the adapter runs on the CPU. */
  readonly software: boolean;
  /** Whether kernels may use subgroup operations. */
  readonly subgroups: boolean;
  /** The adapter's features beyond the minimum, under WebGPU's names. */
  readonly features: readonly string[];
  /** Whether f16 matrix products run on the GPU's matrix units. */
  readonly matrixUnits: boolean;

  #gpu: GPUDevice;
  #faults = new Faults();
  #pool: BufferPool;
  #recorder: Recorder;
  #reader: Reader;
  #launcher: Launcher;
  #loss: DeviceLostError | undefined;
  #written = 0;

  /**
   * Requests an adapter and a device with all that it supports. Throws a {@linkcode DeviceError} if there is no adapter
   * or it gives no device.
   */
  static async open(options?: WebGpuOptions): Promise<WebGpuDevice> {
    return new WebGpuDevice(await openAdapter(options ?? {}), options ?? {});
  }

  private constructor(opened: OpenedAdapter, options: WebGpuOptions) {
    const { adapter, gpu, subgroups, packedDots } = opened;
    const asked = options.limits ?? {};
    this.#gpu = gpu;
    this.software = isSoftwareAdapter(adapter);
    this.minWorkgroups = this.software ? 1 : GPU_WORKGROUPS;
    this.subgroups = subgroups;
    this.features = [...adapter.features].sort();
    this.matrixUnits = hasMatrixUnits(adapter, gpu);
    this.description = `${adapterName(adapter)} over WebGPU${this.software ? " (software)" : ""}`;
    this.dtypes = new Set<DType>(
      gpu.features.has("shader-f16") ? ["f32", "f16", "i32", "u32"] : ["f32", "i32", "u32"],
    );
    this.bindingAlignment = Math.max(
      gpu.limits.minStorageBufferOffsetAlignment,
      asked.minStorageBufferOffsetAlignment ?? 0,
    );
    this.maxBufferBytes = Math.min(gpu.limits.maxBufferSize, asked.maxBufferSize ?? Infinity);
    const longest = Math.min(
      gpu.limits.maxStorageBufferBindingSize,
      asked.maxStorageBufferBindingSize ?? Infinity,
    );
    this.maxBindingBytes = longest - longest % 4;
    const pace = new Pace();
    this.#recorder = new Recorder(gpu, this.#faults, pace);
    this.#reader = new Reader(gpu);
    const { subgroupMinSize, subgroupMaxSize } = adapter.info;
    const sameSize = subgroups && subgroupMinSize === subgroupMaxSize;
    // naga accepts subgroup operations only without the language's `enable` line, others only with it.
    const naga = "Deno" in globalThis && gpu instanceof GPUDevice;
    this.#launcher = new Launcher({
      gpu,
      faults: this.#faults,
      recorder: this.#recorder,
      pace,
      target: {
        maxInvocations: gpu.limits.maxComputeInvocationsPerWorkgroup,
        maxWorkgroupBytes: gpu.limits.maxComputeWorkgroupStorageSize,
        software: this.software,
        minWorkgroups: this.minWorkgroups,
        subgroups,
        matrixUnits: this.matrixUnits,
        packedDots,
        subgroupSize: sameSize ? subgroupMinSize ?? 0 : 0,
      },
      maxWorkgroups: gpu.limits.maxComputeWorkgroupsPerDimension,
      onCompile: options.onCompile,
      enableSubgroups: subgroups && !naga,
      device: this,
      allocationOf: (buffer) => (buffer as WebGpuBuffer).allocation,
    });
    this.#recorder.beforeFinish = (encoder) => {
      this.#launcher.timer?.resolve(encoder);
      this.#launcher.tuner?.timer?.resolve(encoder);
    };
    if (options.tune && options.tune !== "off") this.#tune(options.tune, naga ? "naga" : "Tint");
    this.#pool = new BufferPool({
      create: (bytes, fail, purpose) => this.#createGpuBuffer(bytes, fail, purpose),
      beforeDestroy: () => this.#recorder.flush(),
      onDestroy: (allocation) => this.#launcher.forget(allocation),
      maxBufferBytes: this.maxBufferBytes,
      memoryLimit: options.memoryLimit ?? Infinity,
    });
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      const { error } = event as GPUUncapturedErrorEvent;
      this.#faults.note(new DeviceError(`The GPU reported: ${error.message.trim()}`));
    });
    this.lost = gpu.lost.then((info) => {
      this.#loss ??= new DeviceLostError(
        `The device ${this.description} was lost (${info.reason}${
          info.message ? `: ${info.message}` : ""
        }); open a new one and go on from the last checkpoint`,
      );
      throw this.#loss;
    });
    this.lost.catch(() => {/* whoever waits for something is told there */});
  }

  createBuffer(bytes: number, purpose?: () => string): DeviceBuffer {
    this.#assertOpen();
    if (!(bytes >= 0 && Number.isSafeInteger(bytes))) {
      throw new RangeError(`createBuffer: expected an integer of 0 or more bytes but got ${bytes}`);
    }
    return new WebGpuBuffer(this, bytes, this.#pool.take(bytes, purpose));
  }

  releaseBuffer(buffer: DeviceBuffer): void {
    const own = this.#own(buffer);
    if (own.released) return;
    own.released = true;
    if (!this.#loss) this.#pool.give(own.allocation);
  }

  write(buffer: DeviceBuffer, data: TypedArray | Uint8Array, byteOffset?: number): void {
    const start = byteOffset ?? 0;
    this.#assertOpen();
    const { allocation } = this.#inUse(buffer, "write");
    const { byteLength } = data;
    checkRange("write", buffer, start, byteLength);
    if (byteLength === 0) return;
    const length = Math.ceil(byteLength / 4) * 4;
    if (allocation.batch !== this.#recorder.batch) {
      this.#writeNow(allocation, start, data, length);
    } else if (length <= SMALL_WRITE) {
      // Recorded launches that are not yet submitted use the buffer, so the write must be ordered after them.
      this.#recorder.reserve(length);
      const { offset, bytes } = this.#recorder.place(length);
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, byteLength), offset);
      bytes.fill(0, offset + byteLength, offset + length);
      const encoder = this.#recorder.copies();
      encoder.copyBufferToBuffer(this.#recorder.arena, offset, allocation.gpu, start, length);
      allocation.batch = this.#recorder.batch;
    } else {
      this.#recorder.flush();
      this.#writeNow(allocation, start, data, length);
    }
  }

  copy(
    from: DeviceBuffer,
    fromByte: number,
    to: DeviceBuffer,
    toByte: number,
    byteLength: number,
  ): void {
    this.#assertOpen();
    const source = this.#inUse(from, "copy from").allocation;
    const target = this.#inUse(to, "copy to").allocation;
    checkRange("copy from", from, fromByte, byteLength);
    checkRange("copy to", to, toByte, byteLength);
    if (byteLength === 0) return;
    const length = Math.ceil(byteLength / 4) * 4;
    if (source === target) {
      // WebGPU cannot copy within a buffer.
      const between = this.createBuffer(length);
      this.copy(from, fromByte, between, 0, length);
      this.copy(between, 0, to, toByte, length);
      this.releaseBuffer(between);
      return;
    }
    this.#recorder.reserve(0);
    const encoder = this.#recorder.copies();
    encoder.copyBufferToBuffer(source.gpu, fromByte, target.gpu, toByte, length);
    source.batch = target.batch = this.#recorder.batch;
  }

  async read(regions: readonly Region[]): Promise<Uint8Array<ArrayBuffer>[]> {
    const parts = regions.map(({ buffer, byteOffset, byteLength }): GpuRegion => {
      const { allocation } = this.#inUse(buffer, "read");
      checkRange("read", buffer, byteOffset, byteLength);
      return { buffer: allocation.gpu, offset: byteOffset, bytes: byteLength };
    });
    const results = await this.#read(parts);
    await this.#launcher.tuner?.collect((regions) => this.#read(regions));
    return results;
  }

  launch<P extends Params>(kernel: Kernel<P>, bindings: Bindings, params: P): void {
    this.#assertOpen();
    checkLaunch(kernel, bindings, params, this);
    if (!needsSplit(bindings, this.maxBindingBytes)) {
      this.#launcher.launch(kernel, bindings, params);
      return;
    }
    for (const piece of splitLaunch(kernel, bindings, params, this)) {
      this.#launcher.launch(kernel, piece.bindings, piece.params);
    }
  }

  async synchronize(): Promise<void> {
    this.#assertOpen();
    this.#recorder.flush();
    await this.#orLost(this.#gpu.queue.onSubmittedWorkDone());
    this.#recorder.idle();
    await this.#faults.check();
  }

  memory(): MemoryReport {
    return this.#pool.report();
  }

  releasePooled(): void {
    if (!this.#loss) this.#pool.clear();
  }

  resetPeak(): void {
    this.#pool.resetPeak();
  }

  profile(on: boolean): void {
    this.#assertOpen();
    if (on && !this.#gpu.features.has("timestamp-query")) {
      throw new DeviceError(
        `profile: expected a device with "timestamp-query" but got ${this.description}`,
      );
    }
    this.#recorder.flush();
    this.#launcher.timer?.destroy();
    this.#launcher.timer = on ? new GpuTimer(this.#gpu) : undefined;
  }

  programChoices(): Readonly<Record<string, string>> {
    return this.#launcher.tuner?.choices ?? {};
  }

  restoreProgramChoices(choices: Readonly<Record<string, string>>): void {
    if (Object.keys(choices).length === 0) return;
    this.#launcher.tuner = new Tuner({ gpu: this.#gpu, choices, measure: false });
  }

  async timings(): Promise<KernelTiming[]> {
    this.#assertOpen();
    this.#recorder.flush();
    return await this.#launcher.timer?.timings((regions) => this.#read(regions)) ?? [];
  }

  close(): void {
    this.#loss ??= new DeviceLostError(`The device ${this.description} was closed`);
    this.#gpu.destroy();
  }

  /** Closes the device at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #read(parts: readonly GpuRegion[]): Promise<Uint8Array<ArrayBuffer>[]> {
    this.#assertOpen();
    const finish = this.#reader.record(parts, this.#recorder.copies());
    this.#recorder.flush();
    let results: Uint8Array<ArrayBuffer>[];
    try {
      results = await this.#orLost(finish());
    } catch (error) {
      // An earlier error explains more than the failed wait.
      await this.#faults.check();
      throw error;
    }
    // Reading nothing waits for nothing.
    if (parts.some(({ bytes }) => bytes > 0)) this.#recorder.idle();
    await this.#faults.check();
    return results;
  }

  /** Tunes, with the choices of earlier runs on this adapter and compiler. */
  #tune(tune: "on" | "again", compiler: string): void {
    if (!this.#gpu.features.has("timestamp-query")) {
      throw new DeviceError(
        `openDevice: tune: expected a GPU with "timestamp-query" but got ${this.description}`,
      );
    }
    const place = `${this.description}, ${compiler}`;
    this.#launcher.tuner = new Tuner({
      gpu: this.#gpu,
      choices: tune === "again" ? {} : storedChoices(place),
      measure: true,
      onChoice: (choices) => storeChoices(place, choices),
    });
  }

  /** Waits for `work`, or throws the loss of the device. */
  async #orLost<T>(work: Promise<T>): Promise<T> {
    try {
      const result = await work;
      if (this.#loss) throw this.#loss;
      return result;
    } catch (error) {
      // Another promise reports the loss, and may settle slightly later.
      if (!this.#loss) {
        await Promise.race([
          this.lost.catch(() => {}),
          new Promise((resolve) => setTimeout(resolve, 20)),
        ]);
      }
      throw this.#loss ?? error;
    }
  }

  #writeNow(
    allocation: Allocation,
    byteOffset: number,
    data: TypedArray | Uint8Array,
    length: number,
  ): void {
    let source: Uint8Array = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (length !== data.byteLength || !(data.buffer instanceof ArrayBuffer)) {
      const padded = new Uint8Array(length);
      padded.set(source);
      source = padded;
    }
    this.#gpu.queue.writeBuffer(
      allocation.gpu,
      byteOffset,
      source as Uint8Array<ArrayBuffer>,
      0,
      length,
    );
    this.#written += length;
    if (this.#written >= UNSUBMITTED_WRITES) {
      this.#written = 0;
      this.#gpu.queue.submit([]);
    }
  }

  #createGpuBuffer(bytes: number, fail: () => void, purpose?: Purpose): GPUBuffer {
    this.#gpu.pushErrorScope("out-of-memory");
    const buffer = this.#gpu.createBuffer({
      label: `dinograd ${bytes}`,
      size: bytes,
      usage: BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST,
    });
    this.#faults.watch(this.#gpu.popErrorScope(), (error): OutOfMemoryError => {
      const report = this.#pool.outOfMemory(
        bytes,
        error.message.trim() || "the GPU's memory is full",
        purpose,
      );
      fail();
      this.#pool.clear();
      return report;
    });
    return buffer;
  }

  #own(buffer: DeviceBuffer): WebGpuBuffer {
    if (buffer instanceof WebGpuBuffer && buffer.device === this) return buffer;
    throw new DeviceError(
      `expected a buffer of ${this.description} but got one of ${buffer.device.description}`,
    );
  }

  #inUse(buffer: DeviceBuffer, what: string): WebGpuBuffer {
    const own = this.#own(buffer);
    if (own.released) {
      throw new DeviceError(`${what}: expected a buffer in use but got one that was released`);
    }
    return own;
  }

  #assertOpen(): void {
    if (this.#loss) throw this.#loss;
  }
}

function checkRange(what: string, buffer: DeviceBuffer, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= buffer.bytes)) {
    throw new RangeError(
      `${what}: expected a range in a buffer of ${buffer.bytes} bytes but got ${offset} to ${
        offset + length
      }`,
    );
  }
  // The last bytes of an f16 buffer may be half a word; the allocation is padded.
  if (offset % 4 !== 0 || (length % 4 !== 0 && offset + length !== buffer.bytes)) {
    throw new RangeError(
      `${what}: expected an offset and a length in multiples of 4 but got ${offset} and ${length}`,
    );
  }
}
