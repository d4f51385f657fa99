/**
 * The device over WebGPU: Deno's `navigator.gpu`, or any object with that interface.
 *
 * @module
 */
import type {
  Binding,
  Device,
  DeviceBuffer,
  KernelTiming,
  MemoryReport,
  Region,
} from "../device.ts";
import { BYTES, type DType, type TypedArray } from "../dtype.ts";
import { DeviceError, DeviceLostError, type OutOfMemoryError } from "../errors.ts";
import type { GpuProgram, Kernel, Params } from "../kernel.ts";
import { type Bindings, needsSplit, splitLaunch } from "../splitting.ts";
import { TimingTotals } from "../timings.ts";
import { type Allocation, BufferPool } from "./buffer_pool.ts";
import { Faults } from "./faults.ts";
import { GpuTimer } from "./gpu_timer.ts";
import { BindGroups, type BoundRange, type Layout, Pipelines } from "./pipelines.ts";
import { type GpuRegion, Reader } from "./reader.ts";
import { Recorder } from "./recorder.ts";

/** Limits a device can be opened with, to be frugal or to test that long bindings are split. */
export interface WebGpuLimits {
  /** The most bytes of a binding; never more than the adapter's. */
  readonly maxStorageBufferBindingSize?: number;
  /** The most bytes of a buffer; never more than the adapter's. */
  readonly maxBufferSize?: number;
  /** What a binding's first byte is a multiple of; never less than the adapter's. */
  readonly minStorageBufferOffsetAlignment?: number;
}

/** How a {@linkcode WebGpuDevice} is opened. */
export interface WebGpuOptions {
  /** Where adapters come from; Deno's `navigator.gpu` by default. */
  readonly gpu?: GPU;
  /** Which adapter, where there are several; `high-performance` by default. */
  readonly powerPreference?: GPUPowerPreference;
  /** Limits below the adapter's. */
  readonly limits?: WebGpuLimits;
  /** The most bytes of buffers, in use and pooled together; no limit by default. */
  readonly memoryLimit?: number;
}

/** Writes up to this size go with the batch; longer ones are not worth the detour through its arena. */
const SMALL_WRITE = 16 * 1024;

/** Adapters that are a CPU in disguise. */
const SOFTWARE = /llvmpipe|swiftshader|lavapipe|softpipe|basic render/i;

/** True for an adapter that runs on the CPU: flagged as a fallback, llvmpipe, SwiftShader, WARP. */
export function isSoftwareAdapter(adapter: GPUAdapter): boolean {
  const info = adapter.info as GPUAdapterInfo & { isFallbackAdapter?: boolean };
  const old = adapter as GPUAdapter & { isFallbackAdapter?: boolean };
  return info.isFallbackAdapter === true || old.isFallbackAdapter === true ||
    SOFTWARE.test(`${info.description} ${info.device} ${info.vendor} ${info.architecture}`);
}

/** The adapter's name as people know it. */
export function adapterName(adapter: GPUAdapter): string {
  const { description, device, vendor, architecture } = adapter.info;
  return description || [vendor, architecture, device].filter((part) => part).join(" ") ||
    "unnamed adapter";
}

class WebGpuBuffer implements DeviceBuffer {
  released = false;
  constructor(
    readonly device: WebGpuDevice,
    readonly bytes: number,
    readonly allocation: Allocation,
  ) {}
}

/** A device over WebGPU; open one with {@linkcode WebGpuDevice.open} or `openDevice`. */
export class WebGpuDevice implements Device {
  readonly kind = "webgpu";
  readonly description: string;
  readonly dtypes: ReadonlySet<DType>;
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  readonly bindingAlignment: number;
  readonly lost: Promise<never>;
  /** True on adapters that run on the CPU. */
  readonly software: boolean;
  /** True where kernels may use subgroup operations. */
  readonly subgroups: boolean;

  #subgroupSize: number;
  #gpu: GPUDevice;
  #faults = new Faults();
  #pool: BufferPool;
  #pipelines: Pipelines;
  #bindGroups: BindGroups;
  #recorder: Recorder;
  #reader: Reader;
  #timer: GpuTimer | undefined;
  #empty: Allocation;
  #emptyWritten: Allocation[] = [];
  #loss: DeviceLostError | undefined;

  /**
   * Asks for an adapter and all that it offers. Throws a {@linkcode DeviceError} where there is no adapter
   * or it gives no device.
   */
  static async open(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
    const gpu = options.gpu ?? navigator.gpu;
    if (!gpu) throw new DeviceError("This runtime has no WebGPU (navigator.gpu is missing)");
    const powerPreference = options.powerPreference ?? "high-performance";
    // Deno and wgpu list no `subgroups` where they grant it, so the only way to know is to ask.
    for (const subgroups of [true, false]) {
      const adapter = await gpu.requestAdapter({ powerPreference });
      if (!adapter) throw new DeviceError("WebGPU found no adapter");
      const device = await requestDevice(adapter, options.limits ?? {}, subgroups);
      if (device) return new WebGpuDevice(adapter, device, subgroups, options);
    }
    throw new DeviceError("The WebGPU adapter gives no device");
  }

  private constructor(
    adapter: GPUAdapter,
    gpu: GPUDevice,
    subgroups: boolean,
    options: WebGpuOptions,
  ) {
    const asked = options.limits ?? {};
    this.#gpu = gpu;
    this.software = isSoftwareAdapter(adapter);
    this.subgroups = subgroups;
    const { subgroupMinSize, subgroupMaxSize } = adapter.info;
    this.#subgroupSize = subgroups && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0;
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
    this.#recorder = new Recorder(gpu, this.#faults);
    this.#reader = new Reader(gpu);
    // Only naga takes subgroup operations without (and not with) the language's `enable` line.
    const isDeno = (options.gpu ?? navigator.gpu) === navigator.gpu && "Deno" in globalThis;
    this.#pipelines = new Pipelines(gpu, this.#faults, subgroups && !isDeno);
    this.#bindGroups = new BindGroups(gpu, this.#recorder.arena);
    this.#pool = new BufferPool({
      create: (bytes) => this.#createGpuBuffer(bytes),
      beforeDestroy: () => this.#recorder.flush(),
      onDestroy: (allocation) => this.#bindGroups.forget(allocation),
      maxBufferBytes: this.maxBufferBytes,
      memoryLimit: options.memoryLimit ?? Infinity,
    });
    this.#empty = this.#emptyAllocation(0);
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

  createBuffer(bytes: number): DeviceBuffer {
    this.#assertOpen();
    if (!(bytes >= 0 && Number.isSafeInteger(bytes))) {
      throw new RangeError(`A buffer cannot have ${bytes} bytes`);
    }
    return new WebGpuBuffer(this, bytes, this.#pool.take(bytes));
  }

  releaseBuffer(buffer: DeviceBuffer): void {
    const own = this.#own(buffer);
    if (own.released) return;
    own.released = true;
    if (!this.#loss) this.#pool.give(own.allocation);
  }

  write(buffer: DeviceBuffer, data: TypedArray | Uint8Array, byteOffset = 0): void {
    this.#assertOpen();
    const { allocation } = this.#inUse(buffer, "write");
    const { byteLength } = data;
    checkRange("write", buffer, byteOffset, byteLength);
    if (byteLength === 0) return;
    const length = Math.ceil(byteLength / 4) * 4;
    if (allocation.batch !== this.#recorder.batch) {
      this.#writeNow(allocation, byteOffset, data, length);
    } else if (length <= SMALL_WRITE) {
      // Launches that are recorded but not submitted use the buffer: the write must come after them.
      this.#recorder.reserve(length);
      const { offset, bytes } = this.#recorder.place(length);
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, byteLength), offset);
      bytes.fill(0, offset + byteLength, offset + length);
      const encoder = this.#recorder.copies();
      encoder.copyBufferToBuffer(this.#recorder.arena, offset, allocation.gpu, byteOffset, length);
      allocation.batch = this.#recorder.batch;
    } else {
      this.#recorder.flush();
      this.#writeNow(allocation, byteOffset, data, length);
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
      // WebGPU does not copy within a buffer.
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
    return await this.#read(parts);
  }

  launch<P extends Params>(kernel: Kernel<P>, bindings: Bindings, params: P): void {
    this.#assertOpen();
    if (!needsSplit(bindings, this.maxBindingBytes)) {
      this.#launch(kernel, bindings, params);
      return;
    }
    for (const piece of splitLaunch(kernel, bindings, params, this)) {
      this.#launch(kernel, piece.bindings, piece.params);
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

  resetPeak(): void {
    this.#pool.resetPeak();
  }

  profile(on: boolean): void {
    this.#assertOpen();
    if (on && !this.#gpu.features.has("timestamp-query")) {
      throw new DeviceError(
        `The device ${this.description} cannot time kernels: it has no "timestamp-query"`,
      );
    }
    this.#recorder.flush();
    this.#timer?.destroy();
    this.#timer = on ? new GpuTimer(this.#gpu) : undefined;
    const timer = this.#timer;
    this.#recorder.beforeFinish = timer ? (encoder) => timer.resolve(encoder) : () => {};
  }

  async timings(): Promise<KernelTiming[]> {
    this.#assertOpen();
    if (!this.#timer) return [];
    this.#recorder.flush();
    const batches = [...this.#timer.batches()];
    const stamps = await this.#read(
      batches.map(({ buffer, offset, kernels }) => ({
        buffer,
        offset,
        bytes: kernels.length * 16,
      })),
    );
    const totals = new TimingTotals();
    batches.forEach(({ kernels }, i) => {
      const times = new BigUint64Array(stamps[i].buffer);
      kernels.forEach((kernel, k) => {
        totals.add(kernel, Math.max(0, Number(times[2 * k + 1] - times[2 * k])) / 1e6);
      });
    });
    return totals.list();
  }

  close(): void {
    this.#loss ??= new DeviceLostError(`The device ${this.description} was closed`);
    this.#gpu.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #launch<P extends Params>(kernel: Kernel<P>, bindings: Bindings, params: P): void {
    const layout = this.#pipelines.layout(kernel);
    const dtypes: Record<string, DType> = {};
    let written = 0;
    let elements = 0;
    for (let i = 0; i < layout.bindings.length; i++) {
      const binding = bindings[layout.bindings[i]];
      if (!binding) continue;
      dtypes[layout.bindings[i]] = binding.dtype;
      if (layout.writes[i]) {
        written++;
        elements += binding.size;
      }
    }
    const ranges = this.#bind(kernel, layout, bindings);
    if (written > 0 && elements === 0) return;
    const program = kernel.gpu(params, {
      dtypes,
      maxInvocations: this.#gpu.limits.maxComputeInvocationsPerWorkgroup,
      maxWorkgroupBytes: this.#gpu.limits.maxComputeWorkgroupStorageSize,
      software: this.software,
      subgroups: this.subgroups,
      subgroupSize: this.#subgroupSize,
    });
    const workgroups = this.#workgroups(kernel.name, program);
    if (workgroups[0] === 0 || workgroups[1] === 0 || workgroups[2] === 0) return;
    const recorder = this.#recorder;
    const pipeline = this.#pipelines.pipeline(kernel.name, layout, program, () => recorder.flush());
    const group = this.#bindGroups.get(kernel.name, layout, ranges);
    recorder.reserve(layout.uniformBytes);
    if (this.#timer?.full) recorder.flush();
    const uniform = layout.uniformBytes > 0
      ? this.#uniform(kernel.name, layout, params)
      : undefined;
    const timestamps = this.#timer?.next(kernel.name);
    recorder.dispatch(kernel.name, pipeline.gpu, group, uniform, workgroups, timestamps);
    for (const { allocation } of ranges) allocation.batch = recorder.batch;
  }

  /** The byte ranges of a launch's bindings, checked. */
  // deno-lint-ignore no-explicit-any -- kernels of any parameters
  #bind(kernel: Kernel<any>, layout: Layout, bindings: Bindings): BoundRange[] {
    const ranges: BoundRange[] = [];
    let unbound = 0;
    for (let i = 0; i < layout.bindings.length; i++) {
      const name = layout.bindings[i];
      const binding = bindings[name];
      const write = layout.writes[i];
      if (!binding && !layout.optional.has(name)) {
        throw new DeviceError(`Kernel "${kernel.name}": binding "${name}" is missing`);
      }
      if (!binding || binding.size === 0) {
        const allocation = write ? this.#emptyAllocation(++unbound) : this.#empty;
        ranges.push({ allocation, offset: 0, bytes: allocation.bytes });
        continue;
      }
      const range = this.#range(kernel.name, name, binding);
      for (let j = 0; j < i; j++) {
        if (ranges[j].allocation !== range.allocation) continue;
        const other = ranges[j];
        const overlap = range.offset < other.offset + other.bytes &&
          other.offset < range.offset + range.bytes;
        if (write !== layout.writes[j] || (write && overlap)) {
          throw new DeviceError(
            `Kernel "${kernel.name}": bindings "${
              layout.bindings[j]
            }" and "${name}" are the same ` +
              `buffer, and ${write ? `"${name}"` : `"${layout.bindings[j]}"`} is written`,
          );
        }
      }
      ranges.push(range);
    }
    for (const name in bindings) {
      if (!(name in kernel.bindings)) {
        throw new DeviceError(`Kernel "${kernel.name}" has no binding "${name}"`);
      }
    }
    return ranges;
  }

  #range(kernel: string, name: string, binding: Binding): BoundRange {
    const what = `Kernel "${kernel}": binding "${name}"`;
    const { allocation, bytes } = this.#inUse(binding.buffer, what);
    const size = BYTES[binding.dtype];
    const offset = binding.offset * size;
    if (!this.dtypes.has(binding.dtype)) {
      throw new DeviceError(`${what} is ${binding.dtype}, which ${this.description} does not have`);
    }
    if (offset + binding.size * size > bytes) {
      throw new DeviceError(
        `${what} spans elements ${binding.offset} to ${binding.offset + binding.size} ` +
          `of a buffer of ${bytes} bytes`,
      );
    }
    if (offset % this.bindingAlignment !== 0) {
      throw new DeviceError(
        `${what} starts at byte ${offset} (element ${binding.offset}), ` +
          `not a multiple of ${this.bindingAlignment} as this device needs`,
      );
    }
    // 16 bytes at least, so that a program may see the elements as vec4; the allocation has them.
    const length = Math.max(16, Math.ceil(binding.size * size / 4) * 4);
    return { allocation, offset, bytes: Math.min(length, allocation.bytes - offset) };
  }

  #workgroups(kernel: string, program: GpuProgram): [number, number, number] {
    const most = this.#gpu.limits.maxComputeWorkgroupsPerDimension;
    const asked = program.workgroups;
    let groups: [number, number, number];
    if (typeof asked === "number") {
      const rows = Math.ceil(asked / most) || 0;
      groups = rows <= 1 ? [asked, 1, 1] : [Math.ceil(asked / rows), rows, 1];
    } else {
      groups = [asked[0], asked[1] ?? 1, asked[2] ?? 1];
    }
    for (const count of groups) {
      if (!(Number.isInteger(count) && count >= 0 && count <= most)) {
        throw new DeviceError(
          `Kernel "${kernel}" asks for ${asked} workgroups; ` +
            `each dimension takes a whole number up to ${most}`,
        );
      }
    }
    return groups;
  }

  #uniform(kernel: string, layout: Layout, params: Params): number {
    const { offset, view } = this.#recorder.place(layout.uniformBytes);
    for (let i = 0; i < layout.params.length; i++) {
      const [name, type] = layout.params[i];
      const value = params[name];
      const at = offset + 4 * i;
      if (type === "f32" && typeof value === "number") view.setFloat32(at, value, true);
      else if (type === "u32" && value >>> 0 === value) view.setUint32(at, value, true);
      else if (type === "i32" && (value | 0) === value) view.setInt32(at, value, true);
      else {throw new DeviceError(
          `Kernel "${kernel}": parameter "${name}" is ${value}, not ${type}`,
        );}
    }
    return offset;
  }

  async #read(parts: readonly GpuRegion[]): Promise<Uint8Array<ArrayBuffer>[]> {
    this.#assertOpen();
    const finish = this.#reader.record(parts, this.#recorder.copies());
    this.#recorder.flush();
    let results: Uint8Array<ArrayBuffer>[];
    try {
      results = await this.#orLost(finish());
    } catch (error) {
      // What went wrong earlier explains more than the failed wait does.
      await this.#faults.check();
      throw error;
    }
    this.#recorder.idle();
    await this.#faults.check();
    return results;
  }

  /** Waits for `work`, or throws the loss of the device. */
  async #orLost<T>(work: Promise<T>): Promise<T> {
    try {
      const result = await work;
      if (this.#loss) throw this.#loss;
      return result;
    } catch (error) {
      // The loss is told by another promise, which may settle a little later.
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
  }

  #createGpuBuffer(bytes: number): GPUBuffer {
    this.#gpu.pushErrorScope("out-of-memory");
    const buffer = this.#gpu.createBuffer({
      label: `dinograd ${bytes}`,
      size: bytes,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.#faults.watch(this.#gpu.popErrorScope(), (error): OutOfMemoryError => {
      const report = this.#pool.outOfMemory(
        bytes,
        error.message.trim() || "the GPU's memory is full",
      );
      this.#pool.clear();
      return report;
    });
    return buffer;
  }

  /** A few bytes for what is not given; a different one for each that a launch may write. */
  #emptyAllocation(index: number): Allocation {
    return this.#emptyWritten[index] ??= {
      id: -index,
      gpu: this.#gpu.createBuffer({
        label: "dinograd empty",
        size: 256,
        usage: GPUBufferUsage.STORAGE,
      }),
      bytes: 256,
      batch: 0,
      bindGroups: new Set(),
      released: 0,
    };
  }

  #own(buffer: DeviceBuffer): WebGpuBuffer {
    if (buffer instanceof WebGpuBuffer && buffer.device === this) return buffer;
    throw new DeviceError(
      `A buffer of the device ${buffer.device.description} was given to ${this.description}`,
    );
  }

  #inUse(buffer: DeviceBuffer, what: string): WebGpuBuffer {
    const own = this.#own(buffer);
    if (own.released) throw new DeviceError(`${what}: the buffer was released before`);
    return own;
  }

  #assertOpen(): void {
    if (this.#loss) throw this.#loss;
  }
}

/** A device with all that the adapter offers; undefined where it does not grant subgroups. */
async function requestDevice(
  adapter: GPUAdapter,
  asked: WebGpuLimits,
  subgroups: boolean,
): Promise<GPUDevice | undefined> {
  const { limits } = adapter;
  // Limits below these defaults need not be granted; the device keeps to lower ones by itself.
  const atLeast = (value: number | undefined, most: number, preset: number) =>
    value === undefined ? most : Math.min(most, Math.max(value, preset));
  const requiredFeatures = ["shader-f16", "timestamp-query"]
    .filter((feature) => adapter.features.has(feature as GPUFeatureName));
  if (subgroups) requiredFeatures.push("subgroups");
  try {
    return await adapter.requestDevice({
      label: "dinograd",
      requiredFeatures: requiredFeatures as GPUFeatureName[],
      requiredLimits: {
        maxBufferSize: atLeast(asked.maxBufferSize, limits.maxBufferSize, 2 ** 28),
        maxStorageBufferBindingSize: atLeast(
          asked.maxStorageBufferBindingSize,
          limits.maxStorageBufferBindingSize,
          2 ** 27,
        ),
        minStorageBufferOffsetAlignment: limits.minStorageBufferOffsetAlignment,
        minUniformBufferOffsetAlignment: limits.minUniformBufferOffsetAlignment,
        maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
        maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
        maxComputeWorkgroupSizeY: limits.maxComputeWorkgroupSizeY,
        maxComputeWorkgroupSizeZ: limits.maxComputeWorkgroupSizeZ,
        maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      },
    });
  } catch (error) {
    if (subgroups) return undefined;
    throw new DeviceError(
      `The WebGPU adapter ${adapterName(adapter)} gives no device: ${
        error instanceof Error ? error.message : error
      }`,
    );
  }
}

function checkRange(what: string, buffer: DeviceBuffer, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= buffer.bytes)) {
    throw new RangeError(
      `${what}: bytes ${offset} to ${
        offset + length
      } are outside of a buffer of ${buffer.bytes} bytes`,
    );
  }
  // The last bytes of a buffer of f16 may be an odd half; the allocation is padded.
  if (offset % 4 !== 0 || (length % 4 !== 0 && offset + length !== buffer.bytes)) {
    throw new RangeError(`${what}: offset ${offset} and length ${length} must be multiples of 4`);
  }
}
