/**
 * Tensors: shaped arrays of numbers on a device.
 *
 * @module
 */
import type { Binding, Device, DeviceBuffer, Region } from "../device/device.ts";
import {
  BYTES,
  bytesOf,
  type DType,
  isQuantised,
  type TypedArray,
  viewOf,
} from "../device/dtype.ts";
import { collectForgotten, forgotten } from "./forgotten.ts";
import { formatValues } from "./format.ts";
import { currentScope, type Scope } from "./scope.ts";
import { checkShape, formatShape, type Shape, sizeOf } from "./shape.ts";

/** The tape's record of how a tensor was computed from others (see `tape.ts`). */
export interface GradNode {
  /** The name of the operation that made the tensor. */
  readonly name: string;
  /** Runs the backward pass from `output`. */
  backward(output: Tensor, seed: Tensor | number): void;
  /** Releases one reference: the tensor was disposed of. */
  release(): void;
}

/** A buffer, or a part of one, with a count of the tensors that use it. */
class Storage {
  users = 1;
  constructor(
    readonly buffer: DeviceBuffer,
    readonly bytes: number,
    /** The index of the first element in the buffer. */
    readonly offset = 0,
    /** Returns a part of a buffer to its owner. */
    readonly free?: () => void,
  ) {}
  release(): void {
    if (--this.users > 0) return;
    if (this.free) this.free();
    else this.buffer.device.releaseBuffer(this.buffer);
  }
}

/**
 * A shaped array of numbers on a device, contiguous in row-major order. Tensors are values: operations make new ones
 * and never change their arguments. Memory is owned: dispose of a tensor (`using`, a {@linkcode Scope}, or
 * {@linkcode Tensor.dispose}) when it is no longer needed.
 */
export class Tensor implements Binding, Disposable {
  /** The lengths of the axes, the outermost first. */
  readonly shape: Shape;
  /** The dtype of the elements. */
  readonly dtype: DType;
  /** The number of elements. */
  readonly size: number;
  /**
   * Whether a gradient is wanted for this tensor or flows through it. Set it on a leaf to request a gradient, or to
   * stop requesting it. Integer types throw a `TypeError`.
   */
  declare requiresGrad: boolean;
  /** A name for messages. For parameters it is their path. */
  name = "";
  /** The accumulated gradient from {@linkcode Tensor.backward}, for a leaf with `requiresGrad`. */
  grad: Tensor | null = null;
  /**
   * For a leaf with memory set aside for its gradient: makes the tensor to write the gradient into, or returns null
   * while that memory is in use.
   */
  gradPlace: (() => Tensor | null) | null = null;
  /** Called each time a backward pass has added to the gradient of this leaf. */
  gradHook: (() => void) | null = null;
  /**
   * For a leaf that has a gradient: may take `rows` (n, E), which a backward pass would add to it at `ids` (n), to add
   * them later. Returns whether it does.
   */
  takeGradRows: ((ids: Tensor, rows: Tensor) => boolean) | null = null;
  /** How the tensor was computed, if a gradient flows through it. */
  node: GradNode | null = null;
  #storage: Storage;
  #requiresGrad = false;
  #disposed = false;
  #scope: Scope | undefined;

  static {
    // Not `get` and `set` in the class: deno doc leaves out a property that has both.
    Object.defineProperty(this.prototype, "requiresGrad", {
      get(this: Tensor): boolean {
        return this.#requiresGrad || this.node !== null;
      },
      set(this: Tensor, wanted: boolean) {
        if (wanted && this.dtype !== "f32" && this.dtype !== "f16") {
          throw new TypeError(
            `requiresGrad: expected a tensor of f32 or f16 but got ${this.dtype}`,
          );
        }
        this.#requiresGrad = wanted;
      },
    });
  }

  private constructor(storage: Storage, shape: Shape, dtype: DType) {
    this.#storage = storage;
    this.shape = Object.isFrozen(shape) ? shape : Object.freeze([...shape]);
    this.dtype = dtype;
    this.size = sizeOf(shape);
    forgotten.register(this, storage, this);
    this.moveTo(currentScope());
  }

  /**
   * Creates a tensor with undefined values, for an operation to fill. Throws a `TypeError` for a dtype that the device
   * does not have.
   */
  static empty(device: Device, shape: Shape, type?: DType): Tensor {
    const dtype = type ?? "f32";
    const checked = checkShape("Tensor.empty", shape);
    if (isQuantised(dtype)) checkBlocks(checked, dtype);
    else if (!device.dtypes.has(dtype)) {
      throw new TypeError(
        `Tensor.empty: expected ${
          [...device.dtypes].join(", ")
        }, as ${device.description} has, but got ${dtype}`,
      );
    }
    // Reads and copies move whole 32-bit words, so an odd number of f16 elements is padded.
    const bytes = Math.ceil(bytesOf(dtype, sizeOf(checked)) / 4) * 4;
    const buffer = device.createBuffer(
      bytes,
      () => `a tensor ${formatShape(checked)} of ${dtype}`,
    );
    return new Tensor(new Storage(buffer, bytes), checked, dtype);
  }

  /**
   * Creates a tensor over a part of a buffer, starting at element `offset`. `free` is called when nothing uses the part
   * any more.
   */
  static within(
    buffer: DeviceBuffer,
    offset: number,
    shape: Shape,
    dtype: DType,
    free: () => void,
  ): Tensor {
    return new Tensor(
      new Storage(buffer, sizeOf(shape) * BYTES[dtype], offset, free),
      shape,
      dtype,
    );
  }

  /** The device that holds the tensor. */
  get device(): Device {
    return this.#storage.buffer.device;
  }

  /** The buffer that holds the elements. Throws an `Error` if the tensor was disposed of. */
  get buffer(): DeviceBuffer {
    this.checkInUse();
    return this.#storage.buffer;
  }

  /** Throws an `Error`, which begins with the operation `op`, if the tensor was disposed of. */
  checkInUse(op?: string): void {
    if (!this.#disposed) return;
    const start = op === undefined ? "" : `${op}: `;
    throw new Error(
      `${start}expected a tensor in use but got ${this.#title()}, which was disposed of; keep() lets it outlive its Scope`,
    );
  }

  /** The index of the first element in the buffer; 0 unless several tensors share one (see `Slab`). */
  get offset(): number {
    return this.#storage.offset;
  }

  /** The size of the elements in bytes. */
  get bytes(): number {
    return bytesOf(this.dtype, this.size);
  }

  /** Whether the tensor was disposed of. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Whether no other tensor uses the same memory, so that it may be overwritten. */
  get isOnlyUser(): boolean {
    return this.#storage.users === 1;
  }

  /** Returns another tensor on the same memory, with its own shape of the same size. No gradient flows. */
  alias(shape?: Shape): Tensor {
    const checked = checkShape("Tensor.alias", shape ?? this.shape, this.size);
    void this.buffer; // throws if it was disposed of
    this.#storage.users++;
    return new Tensor(this.#storage, checked, this.dtype);
  }

  /**
   * Moves the values into the memory of `place`, a tensor of the same shape and dtype, and disposes of `place`. Throws
   * if other tensors share the current memory, since they would be left behind.
   */
  moveInto(place: Tensor): void {
    if (!this.isOnlyUser) {
      throw new Error(
        `expected a tensor with memory of its own but got ${this.#title()}, which shares it`,
      );
    }
    copyInto(place, this);
    forgotten.unregister(this);
    this.#storage.release();
    this.#storage = place.#storage;
    this.#storage.users++;
    forgotten.register(this, this.#storage, this);
    place.dispose();
  }

  /** Returns the same values without the gradient. Shares the memory. */
  detach(): Tensor {
    return this.alias();
  }

  /** Lets the tensor outlive the scope it was made in. Returns the tensor. */
  keep(): this {
    this.moveTo(undefined);
    return this;
  }

  /** Makes another scope the owner, or none. */
  moveTo(scope: Scope | undefined): void {
    this.#scope?.release(this);
    this.#scope = scope;
    scope?.own(this);
  }

  /**
   * Runs the backward pass: adds to the `grad` of every leaf with `requiresGrad` the gradient of this tensor with
   * respect to the leaf, times `seed`. Without a seed, which defaults to 1, this must be a single number. Tensors that
   * only the backward pass needed are freed along the way. Throws an `Error` if no gradient flows to this tensor.
   */
  backward(seed?: Tensor | number): void {
    if (!this.node) {
      throw new Error(
        `backward: expected a tensor that depends on one that requires a gradient but got ${this.#title()}; set ` +
          `requiresGrad before computing it, outside of noGrad`,
      );
    }
    this.node.backward(this, seed ?? 1);
  }

  /**
   * Returns a copy on another device, with the same dtype (`cast` changes that); on the same device, another tensor on
   * the same memory. No gradient flows. Throws a `TypeError` for a dtype that the device does not have.
   *
   * @example
   * ```ts
   * import { CpuDevice, tensor } from "@dinograd/dinograd";
   * import assert from "node:assert/strict";
   *
   * using first = CpuDevice.open({ threads: 1 });
   * using second = CpuDevice.open({ threads: 1 });
   * using x = tensor([1, 2, 3], { device: first });
   * using y = await x.to(second);
   * assert.equal(y.device, second);
   * assert.deepEqual(await y.toArray(), [1, 2, 3]);
   * ```
   */
  async to(device: Device): Promise<Tensor> {
    if (device === this.device) return this.alias();
    const [bytes] = await this.device.read([regionOf(this)]);
    const copy = Tensor.empty(device, this.shape, this.dtype);
    if (this.size) device.write(copy.buffer, bytes!);
    return copy;
  }

  /** Waits for the device and returns a copy of the values; quantised ones as float32. */
  async data(): Promise<TypedArray> {
    return (await readTensors([this]))[0]!;
  }

  /** Returns the value of a tensor with one element. Throws a `TypeError` for any other size. */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new TypeError(`item: expected one element but got shape ${formatShape(this.shape)}`);
    }
    return (await this.data())[0]!;
  }

  /**
   * Returns the values as nested arrays; a scalar as a number. The nesting depth is known only at run time, so the
   * caller states the type, such as `toArray<number[][]>()`.
   */
  // deno-lint-ignore no-explicit-any
  async toArray<T extends NestedArray = any>(): Promise<T> {
    const values = await this.data();
    let at = 0;
    const nest = (axis: number): NestedArray =>
      axis === this.shape.length
        ? values[at++]!
        : Array.from({ length: this.shape[axis]! }, () => nest(axis + 1));
    return nest(0) as T;
  }

  /** Returns a readable text: values (long axes abridged), shape, dtype and device. */
  async format(): Promise<string> {
    return `${formatValues(await this.data(), this.shape)}\n${this.toString()}`;
  }

  /** Prints the result of {@linkcode Tensor.format}. */
  async print(): Promise<void> {
    console.log(await this.format());
  }

  /** Returns shape, dtype and device as text; without the values, which {@linkcode Tensor.format} waits for. */
  toString(): string {
    const grad = this.node
      ? `, from ${this.node.name}`
      : this.#requiresGrad
      ? ", requiresGrad"
      : "";
    return `${this.#title()} ${this.dtype} on ${this.device.kind}${grad}`;
  }

  /** What `console.log` shows: includes the values if they can be read without waiting, as on the CPU. */
  [Symbol.for("Deno.customInspect")](): string {
    const { device } = this;
    if (this.#disposed) return `${this.toString()}, disposed`;
    if (!("readNow" in device)) return this.toString();
    const region = regionOf(this);
    const bytes = (device.readNow as (part: Region) => Uint8Array<ArrayBuffer>)(region);
    return `${formatValues(viewOf(this.dtype, bytes.buffer, 0, this.size), this.shape)}\n${this}`;
  }

  /** What a notebook (`deno jupyter`) shows for a tensor: the values, shape, dtype and device. */
  async [Symbol.for("Jupyter.display")](): Promise<{ "text/plain": string }> {
    return { "text/plain": this.#disposed ? `${this}, disposed` : await this.format() };
  }

  /** Releases the memory, which is freed once no other tensor uses it. Doing so twice has no effect. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    forgotten.unregister(this);
    this.#scope?.release(this);
    this.grad?.dispose();
    this.grad = null;
    this.node?.release();
    this.node = null;
    this.#storage.release();
  }

  /** The same as {@linkcode Tensor.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #title(): string {
    return `Tensor${this.name ? ` "${this.name}"` : ""} ${formatShape(this.shape)}`;
  }
}

/** Arbitrarily nested arrays of numbers. */
export type NestedArray = number | readonly NestedArray[];

/** A tensor of one element that is read along with the next read from its device, at no extra wait. */
export interface Watched {
  /** The tensor. */
  readonly watched: Tensor;
  /** Called before each read. The function it returns receives the value. */
  beginRead(): (value: number) => void;
}

const watches = new WeakMap<Device, Set<WeakRef<Watched>>>();

/** Reads the tensor along with every read, until it or its owner is gone. */
export function watch(owner: Watched): void {
  const { device } = owner.watched;
  let all = watches.get(device);
  if (!all) watches.set(device, all = new Set());
  all.add(new WeakRef(owner));
}

/** The watched tensors of a device, for the next read. */
function watchedOn(device: Device): { tensor: Tensor; check: (value: number) => void }[] {
  const all = watches.get(device) ?? new Set();
  const due: { tensor: Tensor; check: (value: number) => void }[] = [];
  for (const reference of all) {
    const owner = reference.deref();
    if (!owner || owner.watched.disposed) all.delete(reference);
    else due.push({ tensor: owner.watched, check: owner.beginRead() });
  }
  return due;
}

/** Reads several tensors, with one wait per device; on WebGPU that costs as much as reading one. */
export async function readTensors<const T extends readonly Tensor[]>(
  tensors: T,
): Promise<{ -readonly [I in keyof T]: TypedArray }> {
  const byDevice = Map.groupBy(tensors, (tensor) => tensor.device);
  const values = new Map<Tensor, TypedArray>();
  for (const [device, group] of byDevice) {
    const checks = watchedOn(device);
    const all = [...group, ...checks.map(({ tensor }) => tensor)];
    const parts = await device.read(all.map(regionOf));
    all.forEach((tensor, i) =>
      values.set(tensor, viewOf(tensor.dtype, parts[i]!.buffer, parts[i]!.byteOffset, tensor.size))
    );
    for (const { tensor, check } of checks) check(values.get(tensor)![0]!);
    await collectForgotten(device);
  }
  return tensors.map((tensor) => values.get(tensor)!) as { -readonly [I in keyof T]: TypedArray };
}

/** Copies the values of `x` into `y`, which has the same size, dtype and device. */
export function copyInto(y: Tensor, x: Tensor): void {
  if (x.size === 0) return;
  const scale = BYTES[x.dtype];
  x.device.copy(x.buffer, x.offset * scale, y.buffer, y.offset * scale, paddedBytes(x));
}

function regionOf(tensor: Tensor): Region {
  const byteOffset = tensor.offset * BYTES[tensor.dtype];
  return { buffer: tensor.buffer, byteOffset, byteLength: paddedBytes(tensor) };
}

/** Throws a `TypeError` unless rows are whole blocks. */
function checkBlocks(shape: Shape, dtype: DType): void {
  if (shape.length > 0 && shape.at(-1)! % 32 === 0) return;
  throw new TypeError(
    `Tensor.empty: expected rows of a multiple of 32 numbers for ${dtype} but got ${
      formatShape(shape)
    }`,
  );
}

/** Reads and copies move whole 32-bit words: an odd number of f16 elements includes its padding. */
function paddedBytes(tensor: Tensor): number {
  return Math.ceil(tensor.bytes / 4) * 4;
}
