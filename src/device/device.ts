/**
 * What a device is: memory, kernel launches, and a report on both.
 *
 * @module
 */
import type { DType, TypedArray } from "./dtype.ts";
import type { Kernel, Params } from "./kernel.ts";

/** Memory that a device owns. Only the device that made it can look inside. */
export interface DeviceBuffer {
  /** The device it belongs to. */
  readonly device: Device;
  /** Bytes asked for. */
  readonly bytes: number;
  /** Whether it was given back. */
  readonly released: boolean;
}

/** A run of elements in a buffer, as a kernel sees it. A tensor is one. */
export interface Binding {
  /** Where the elements are. */
  readonly buffer: DeviceBuffer;
  /** Their type. */
  readonly dtype: DType;
  /** The first element's index in the buffer. */
  readonly offset: number;
  /** How many elements there are. */
  readonly size: number;
}

/** Bytes a device holds. */
export interface MemoryReport {
  /** Bytes of buffers in use. */
  readonly live: number;
  /** The largest `live` has been since the device was opened or {@linkcode Device.resetPeak}. */
  readonly peak: number;
  /** Bytes of free buffers kept for the next request. */
  readonly pooled: number;
  /** How many buffers are in use. */
  readonly buffers: number;
}

/** The time spent in one kernel while profiling was on. */
export interface KernelTiming {
  /** The kernel's name. */
  readonly kernel: string;
  /** Launches. */
  readonly calls: number;
  /** Milliseconds on the device, all calls together. */
  readonly milliseconds: number;
  /** Part of the time of all kernels, 0 to 1. */
  readonly share: number;
}

/** A part of a buffer to read back. */
export interface Region {
  /** The buffer. */
  readonly buffer: DeviceBuffer;
  /** First byte, a multiple of 4. */
  readonly byteOffset: number;
  /** Number of bytes. */
  readonly byteLength: number;
}

/** Holds tensors and runs kernels. Open one with `openDevice`. */
export interface Device extends Disposable {
  /** `webgpu` or `cpu`. */
  readonly kind: "webgpu" | "cpu";
  /** One line for people: the adapter's name, or the CPU's threads and libraries. */
  readonly description: string;
  /** Element types its kernels take. */
  readonly dtypes: ReadonlySet<DType>;
  /** The most bytes that one binding of a kernel may span; longer ones are split (see `Kernel.split`). */
  readonly maxBindingBytes: number;
  /** The most bytes that one buffer may have. */
  readonly maxBufferBytes: number;
  /** A binding's first byte must be a multiple of this. */
  readonly bindingAlignment: number;
  /** Workgroups below which a launch leaves parts of the device idle; 1 on CPUs. */
  readonly minWorkgroups: number;
  /** Rejects (never resolves) when the device goes away, with a `DeviceLostError`. */
  readonly lost: Promise<never>;

  /** Memory with undefined content. Throws `OutOfMemoryError`, whose message says what `purpose` tells. */
  createBuffer(bytes: number, purpose?: () => string): DeviceBuffer;
  /** Gives memory back; launches already recorded may still use it. */
  releaseBuffer(buffer: DeviceBuffer): void;
  /** Copies `data` into a buffer; later launches see it. `byteOffset` is a multiple of 4. */
  write(buffer: DeviceBuffer, data: TypedArray | Uint8Array, byteOffset?: number): void;
  /** Copies between buffers of this device. Offsets and length are multiples of 4. */
  copy(
    from: DeviceBuffer,
    fromByte: number,
    to: DeviceBuffer,
    toByte: number,
    byteLength: number,
  ): void;
  /** Waits for the launches so far and reads parts of buffers, all in one wait. */
  read(regions: readonly Region[]): Promise<Uint8Array<ArrayBuffer>[]>;
  /** Records a kernel launch, in order after all earlier ones; does not wait. */
  launch<P extends Params>(
    kernel: Kernel<P>,
    bindings: Readonly<Record<string, Binding | undefined>>,
    params: P,
  ): void;
  /** Waits until all launches so far are done; throws what went wrong in them. */
  synchronize(): Promise<void>;

  /** Bytes in use, peak and pooled. */
  memory(): MemoryReport;
  /** Gives pooled memory back to the system, where that can be done: the CPU device keeps its own. */
  releasePooled(): void;
  /** Starts counting the peak afresh. */
  resetPeak(): void;
  /** Turns timing of every kernel on or off (on: a little slower), and forgets what was measured. */
  profile(on: boolean): void;
  /** Times per kernel since profiling was turned on, the longest first. */
  timings(): Promise<KernelTiming[]>;
  /** The programs that tuning chose (see `WebGpuOptions.tune`), for a checkpoint, since they decide the order of sums. */
  programChoices(): Readonly<Record<string, string>>;
  /** Takes up saved choices; what they do not name is not tuned. */
  restoreProgramChoices(choices: Readonly<Record<string, string>>): void;
  /** Frees everything; the device cannot be used afterwards. */
  close(): void;
}
