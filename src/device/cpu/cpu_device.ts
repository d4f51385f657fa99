/**
 * The CPU device: WASM SIMD kernels on all threads over one shared memory, BLAS if it is installed and permitted, and
 * the kernels' reference implementations for the rest.
 *
 * @module
 */
import { basename } from "../../io/node_builtins.ts";
import { checkLaunch } from "../check_launch.ts";
import type {
  Binding,
  Device,
  DeviceBuffer,
  KernelTiming,
  MemoryReport,
  Region,
} from "../device.ts";
import { BYTES, type DType, type TypedArray, viewOf } from "../dtype.ts";
import { DeviceError, DeviceLostError } from "../errors.ts";
import type { Kernel, Params, SimdJob } from "../kernel.ts";
import { yieldToEventLoop } from "../event_loop.ts";
import { Blas } from "./blas.ts";
import { Heap } from "./heap.ts";
import { ThreadPool } from "./threads.ts";
import { Widened } from "./widened.ts";

/** Options of {@linkcode CpuDevice.open}. */
export interface CpuDeviceOptions {
  /** The number of threads, including the calling one. Default: one per core. */
  readonly threads?: number | undefined;
  /** Whether to use BLAS if it is installed and permitted. Default: true. */
  readonly blas?: boolean;
  /** Whether to use SIMD kernels; false runs only the reference implementations, for checks. Default: true. */
  readonly simd?: boolean | undefined;
}

class CpuBuffer implements DeviceBuffer {
  released = false;
  constructor(readonly device: CpuDevice, readonly bytes: number, readonly at: number) {}
}

/** A {@linkcode Device} on the CPU. */
export class CpuDevice implements Device {
  readonly kind = "cpu";
  readonly description: string;
  readonly dtypes: ReadonlySet<DType> = new Set<DType>(["f32", "f16", "i32", "u32"]);
  readonly maxBindingBytes = 2 ** 32;
  readonly maxBufferBytes = 2 ** 32 - 2 ** 20;
  readonly bindingAlignment = 4;
  readonly minWorkgroups = 1;
  readonly lost: Promise<never>;
  readonly #pool: ThreadPool;
  readonly #blas: Blas | undefined;
  readonly #heap: Heap;
  readonly #simd: boolean;
  #timings: Map<string, { calls: number; milliseconds: number }> | undefined;
  #closed = false;
  #reportLost: (error: DeviceLostError) => void = () => {};

  private constructor(pool: ThreadPool, blas: Blas | undefined, simd: boolean) {
    this.#pool = pool;
    this.#blas = blas;
    this.#simd = simd;
    this.#heap = new Heap(pool.memory, pool.heapBase);
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {}); // a handler is optional
    this.lost = promise;
    this.#reportLost = reject;
    const { threads } = pool;
    this.description = `CPU, ${threads} thread${threads === 1 ? "" : "s"}, ` +
      (simd ? "WASM SIMD" : "plain TypeScript") + (blas ? ` and ${basename(blas.path)}` : "");
  }

  /** Opens the CPU device. Needs no permission, and asks for none. */
  static open(options?: CpuDeviceOptions): CpuDevice {
    const { blas = true, simd = true } = options ?? {};
    const library = blas && simd ? Blas.open() : undefined;
    const native = library?.kernels;
    return new CpuDevice(ThreadPool.start({ threads: options?.threads, native }), library, simd);
  }

  createBuffer(bytes: number, purpose?: () => string): DeviceBuffer {
    this.#checkOpen();
    return new CpuBuffer(this, bytes, this.#heap.allocate(bytes, purpose));
  }

  releaseBuffer(buffer: DeviceBuffer): void {
    if (this.#closed) return;
    const own = this.#own(buffer);
    own.released = true;
    this.#heap.release(own.at, own.bytes);
  }

  write(buffer: DeviceBuffer, data: TypedArray | Uint8Array, byteOffset?: number): void {
    const { at } = this.#region(buffer, byteOffset ?? 0, data.byteLength);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(this.#pool.memory.buffer, at, data.byteLength).set(bytes);
  }

  copy(
    from: DeviceBuffer,
    fromByte: number,
    to: DeviceBuffer,
    toByte: number,
    byteLength: number,
  ): void {
    const source = this.#region(from, fromByte, byteLength);
    const target = this.#region(to, toByte, byteLength);
    new Uint8Array(this.#pool.memory.buffer)
      .copyWithin(target.at, source.at, source.at + byteLength);
  }

  async read(regions: readonly Region[]): Promise<Uint8Array<ArrayBuffer>[]> {
    const values = regions.map((region) => this.readNow(region));
    await yieldToEventLoop();
    return values;
  }

  /** Reads a region synchronously, which only this device can. */
  readNow(region: Region): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(region.byteLength);
    copy.set(this.view(region));
    return copy;
  }

  /** The bytes of a region in the shared memory, valid until its buffer is released. */
  view({ buffer, byteOffset, byteLength }: Region): Uint8Array {
    const { at } = this.#region(buffer, byteOffset, byteLength);
    return new Uint8Array(this.#pool.memory.buffer, at, byteLength);
  }

  launch<P extends Params>(
    kernel: Kernel<P>,
    bindings: Readonly<Record<string, Binding | undefined>>,
    params: P,
  ): void {
    this.#checkOpen();
    checkLaunch(kernel, bindings, params, this);
    const start = this.#timings ? performance.now() : 0;
    if (!this.#launchSimd(kernel, bindings, params)) {
      this.#launchReference(kernel, bindings, params);
    }
    if (this.#timings) {
      const row = this.#timings.get(kernel.name) ?? { calls: 0, milliseconds: 0 };
      row.calls++;
      row.milliseconds += performance.now() - start;
      this.#timings.set(kernel.name, row);
    }
  }

  async synchronize(): Promise<void> {
    await yieldToEventLoop();
  }

  memory(): MemoryReport {
    return this.#heap.report();
  }

  releasePooled(): void {
    // A WebAssembly memory cannot shrink; its free parts serve requests of any size.
  }

  resetPeak(): void {
    this.#heap.peak = this.#heap.live;
  }

  profile(on: boolean): void {
    this.#timings = on ? new Map() : undefined;
  }

  timings(): Promise<KernelTiming[]> {
    const rows = [...this.#timings ?? []];
    const total = rows.reduce((sum, [, row]) => sum + row.milliseconds, 0);
    return Promise.resolve(
      rows.map(([kernel, row]) => ({ kernel, ...row, share: row.milliseconds / (total || 1) }))
        .sort((a, b) => b.milliseconds - a.milliseconds),
    );
  }

  programChoices(): Readonly<Record<string, string>> {
    return {};
  }

  restoreProgramChoices(): void {
    // The CPU has only one program per kernel.
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.close();
    this.#blas?.close();
    this.#reportLost(new DeviceLostError("the CPU device was closed"));
  }

  /** Closes the device at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #launchSimd<P extends Params>(
    kernel: Kernel<P>,
    bindings: Readonly<Record<string, Binding | undefined>>,
    params: P,
  ): boolean {
    if (!this.#simd || !kernel.simd) return false;
    const pool = this.#pool;
    const at: Record<string, number> = {};
    let widened: Widened | undefined;
    const scratch: { at: number; bytes: number }[] = [];
    try {
      for (const { name, access, half, axes } of kernel.slots) {
        const binding = bindings[name];
        at[name] = binding ? addressOf(binding) : 0;
        if (binding?.dtype !== "f16" || half) continue;
        // A write-only binding of known size is written completely. In others, the remaining elements must be kept.
        const read = access !== "write" || axes(params).includes("*");
        widened ??= new Widened(pool, this.#heap);
        at[name] = widened.copy(at[name], binding.size, read, access !== "read");
      }
      const job: SimdJob<P> = {
        at,
        bindings,
        params,
        memory: pool.memory,
        threads: pool.threads,
        run: (name, count, chunk, ...values) => pool.run(name, count, chunk, ...values),
        blas: this.#blas,
        scratch: (bytes) => {
          const at = this.#heap.allocate(bytes, () => `scratch of ${kernel.name}`);
          scratch.push({ at, bytes });
          return at;
        },
      };
      const done = kernel.simd(job);
      if (done) widened?.store();
      return done;
    } finally {
      widened?.release();
      for (const { at, bytes } of scratch) this.#heap.release(at, bytes);
    }
  }

  #launchReference<P extends Params>(
    kernel: Kernel<P>,
    bindings: Readonly<Record<string, Binding | undefined>>,
    params: P,
  ): void {
    const views: Record<string, TypedArray | undefined> = {};
    const { buffer } = this.#pool.memory;
    for (const name in kernel.bindings) {
      const binding = bindings[name];
      views[name] = binding &&
        viewOf(binding.dtype, buffer, addressOf(binding), binding.size);
    }
    kernel.cpu(views, params);
  }

  #region(buffer: DeviceBuffer, byteOffset: number, byteLength: number): { at: number } {
    this.#checkOpen();
    const own = this.#own(buffer);
    if (byteOffset < 0 || byteOffset + byteLength > Math.max(own.bytes, 0)) {
      throw new RangeError(
        `expected a range in a buffer of ${own.bytes} bytes but got ${byteOffset} to ${
          byteOffset + byteLength
        }`,
      );
    }
    return { at: own.at + byteOffset };
  }

  #own(buffer: DeviceBuffer): CpuBuffer {
    if (!(buffer instanceof CpuBuffer) || buffer.device !== this) {
      throw new DeviceError(
        `expected a buffer of this CPU device but got one of ${buffer.device.description}`,
      );
    }
    if (buffer.released) {
      throw new DeviceError("expected a buffer in use but got one that was released");
    }
    return buffer;
  }

  #checkOpen(): void {
    if (this.#closed) throw new DeviceLostError("the CPU device was closed");
  }
}

/** The byte address of a checked binding. */
function addressOf({ buffer, offset, dtype }: Binding): number {
  return (buffer as CpuBuffer).at + offset * BYTES[dtype];
}
