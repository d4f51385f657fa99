/**
 * The device interface: memory, kernel launches, and statistics on both.
 *
 * @module
 */
import type { DType, TypedArray } from "./dtype.ts";
import type { Kernel, Params } from "./kernel.ts";

/** Memory that a device owns. Only the device that made it can access its content. */
export interface DeviceBuffer {
  /** The device it belongs to. */
  readonly device: Device;
  /** Its size as requested, in bytes. */
  readonly bytes: number;
  /** Whether it was released. */
  readonly released: boolean;
}

/** A range of elements in a buffer, as a kernel sees it. A tensor is one. */
export interface Binding {
  /** The buffer that holds the elements. */
  readonly buffer: DeviceBuffer;
  /** The dtype of the elements. */
  readonly dtype: DType;
  /** The index of the first element in the buffer. */
  readonly offset: number;
  /** The number of elements. */
  readonly size: number;
}

/** The memory use of a device, in bytes. */
export interface MemoryReport {
  /** Bytes of buffers in use. */
  readonly live: number;
  /** The maximum of `live` since the device was opened or since {@linkcode Device.resetPeak}. */
  readonly peak: number;
  /** Bytes of free buffers kept for reuse. */
  readonly pooled: number;
  /** The number of buffers in use. */
  readonly buffers: number;
}

/** The time spent in one kernel while profiling. */
export interface KernelTiming {
  /** The kernel's name. */
  readonly kernel: string;
  /** The number of launches. */
  readonly calls: number;
  /** Milliseconds on the device, over all launches. */
  readonly milliseconds: number;
  /** Its fraction of the time of all kernels, from 0 to 1. */
  readonly share: number;
}

/** A part of a buffer to read back. */
export interface Region {
  /** The buffer. */
  readonly buffer: DeviceBuffer;
  /** The first byte, a multiple of 4. */
  readonly byteOffset: number;
  /** The number of bytes. */
  readonly byteLength: number;
}

/** A device holds tensors and runs kernels. Open one with `openDevice`. */
export interface Device extends Disposable {
  /** The kind of device. */
  readonly kind: "webgpu" | "cpu";
  /** A one-line description: the adapter's name, or the CPU's threads and libraries. */
  readonly description: string;
  /** The dtypes that its kernels accept. */
  readonly dtypes: ReadonlySet<DType>;
  /** Maximum bytes of one binding of a kernel. Launches with longer ones are split (see `Kernel.split`). */
  readonly maxBindingBytes: number;
  /** Maximum bytes of one buffer. */
  readonly maxBufferBytes: number;
  /** What the byte offset of a binding must be a multiple of. */
  readonly bindingAlignment: number;
  /** The number of workgroups below which parts of the device are idle; 1 on CPUs. */
  readonly minWorkgroups: number;
  /** Rejects with a `DeviceLostError` when the device is lost; never resolves. */
  readonly lost: Promise<never>;

  /** Allocates memory with undefined content. Throws an `OutOfMemoryError` whose message includes `purpose`. */
  createBuffer(bytes: number, purpose?: () => string): DeviceBuffer;
  /** Releases memory. Launches already recorded may still use it. */
  releaseBuffer(buffer: DeviceBuffer): void;
  /** Copies `data` into a buffer, for later launches to see. `byteOffset` is a multiple of 4. */
  write(buffer: DeviceBuffer, data: TypedArray | Uint8Array, byteOffset?: number): void;
  /** Copies between buffers of this device. Offsets and length are multiples of 4. */
  copy(
    from: DeviceBuffer,
    fromByte: number,
    to: DeviceBuffer,
    toByte: number,
    byteLength: number,
  ): void;
  /** Waits for all launches so far and reads parts of buffers, in a single wait. */
  read(regions: readonly Region[]): Promise<Uint8Array<ArrayBuffer>[]>;
  /** Records a kernel launch, to run after all earlier ones. Does not wait. */
  launch<P extends Params>(
    kernel: Kernel<P>,
    bindings: Readonly<Record<string, Binding | undefined>>,
    params: P,
  ): void;
  /** Waits until all launches so far are done, and throws their errors. */
  synchronize(): Promise<void>;

  /** Returns the bytes in use, their peak, and those pooled. */
  memory(): MemoryReport;
  /** Returns pooled memory to the system if possible; the CPU device keeps its memory. */
  releasePooled(): void;
  /** Resets the peak to the current memory use. */
  resetPeak(): void;
  /** Turns timing of all kernels on or off and discards earlier measurements. Timing makes launches a little slower. */
  profile(on: boolean): void;
  /** Returns the times per kernel since profiling was turned on, the longest first. */
  timings(): Promise<KernelTiming[]>;
  /**
   * Returns the programs that tuning chose (see `WebGpuOptions.tune`), for a checkpoint, since they determine the order
   * of sums.
   */
  programChoices(): Readonly<Record<string, string>>;
  /** Restores saved choices. Launches without a saved choice are not tuned. */
  restoreProgramChoices(choices: Readonly<Record<string, string>>): void;
  /** Frees everything. The device cannot be used afterwards. */
  close(): void;
}
