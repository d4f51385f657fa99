/**
 * Slabs: tensors that are contiguous in one buffer, so that one launch can process them all.
 *
 * @module
 */
import type { Binding, Device, DeviceBuffer } from "../device/device.ts";
import { BYTES, type DType } from "../device/dtype.ts";
import { type Shape, sizeOf } from "./shape.ts";
import { Tensor } from "./tensor.ts";

/** Memory for tensors of given shapes. It is freed with the last of them. */
export class Slab {
  readonly #device: Device;
  readonly #shapes: readonly Shape[];
  readonly #dtype: DType;
  readonly #offsets: number[] = [];
  readonly #taken = new Set<number>();
  #size = 0;
  #buffer: DeviceBuffer | undefined;

  /** Aligns each tensor to a multiple of `step` elements. */
  constructor(device: Device, shapes: readonly Shape[], dtype: DType, step: number) {
    this.#device = device;
    this.#shapes = shapes;
    this.#dtype = dtype;
    for (const shape of shapes) {
      this.#offsets.push(this.#size);
      this.#size = Math.ceil((this.#size + sizeOf(shape)) / step) * step;
    }
  }

  /** Creates the tensor with this index, with undefined values; returns null while it is in use. */
  take(index: number): Tensor | null {
    if (this.#taken.has(index)) return null;
    const bytes = this.#size * BYTES[this.#dtype];
    const buffer = this.#buffer ??= this.#device.createBuffer(
      bytes,
      () => `${this.#shapes.length} tensors of ${this.#dtype} side by side`,
    );
    this.#taken.add(index);
    return Tensor.within(buffer, this.#offsets[index]!, this.#shapes[index]!, this.#dtype, () => {
      this.#taken.delete(index);
      if (this.#taken.size > 0) return;
      this.#device.releaseBuffer(buffer);
      this.#buffer = undefined;
    });
  }
}

/** The bindings of one launch, by name. Those that are given all have the same number of elements. */
type Bindings = Readonly<Record<string, Binding | undefined>>;

/**
 * Joins launches, in any order, whose bindings all start where those of another end. Sizes that are not a multiple of 4
 * are not joined, since kernels process four elements at a time where they can.
 */
export function joinNeighbours<B extends Bindings>(launches: readonly B[]): B[] {
  const first = (launch: B): Binding => Object.values(launch)[0]!;
  const joined: B[] = [];
  for (const group of Map.groupBy(launches, (launch) => first(launch).buffer).values()) {
    for (const launch of group.sort((a, b) => first(a).offset - first(b).offset)) {
      const last = joined.at(-1);
      if (last && goesOn(last, launch)) joined[joined.length - 1] = together(last, launch);
      else joined.push(launch);
    }
  }
  return joined;
}

function goesOn(before: Bindings, next: Bindings): boolean {
  for (const name in before) {
    const a = before[name], b = next[name];
    if (!a && !b) continue;
    const fits = a && b && a.buffer === b.buffer && a.dtype === b.dtype &&
      a.offset + a.size === b.offset && (b.size % 4 === 0 || a.size % 4 > 0);
    if (!fits) return false;
  }
  return true;
}

function together<B extends Bindings>(before: B, next: B): B {
  const all: Record<string, Binding | undefined> = {};
  for (const name in before) {
    const a = before[name];
    all[name] = a && {
      buffer: a.buffer,
      dtype: a.dtype,
      offset: a.offset,
      size: a.size + next[name]!.size,
    };
  }
  return all as B;
}
