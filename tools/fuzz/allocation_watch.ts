/**
 * Watches how much memory code asks for, so that a number in a file that decides it cannot hide.
 *
 * @module
 */

/** No case may take more at once; what asks for more is refused, as by a machine without the memory. */
const MAX_BYTES = 1 << 30;

let largest = 0;
let total = 0;

/** What code asked for, in bytes. */
export interface Allocations {
  /** The largest of them. */
  readonly largest: number;
  /** All of them. */
  readonly total: number;
}

/**
 * Puts itself before the constructors of all arrays and of WebAssembly's memory. Only code that is loaded
 * afterwards is sure to be watched.
 */
export function watchAllocations(): void {
  watch("ArrayBuffer", 1);
  watch("SharedArrayBuffer", 1);
  watch("Array", 8);
  for (
    const name of [
      ...["Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array"],
      ...["Int32Array", "Uint32Array", "Float16Array", "Float32Array", "Float64Array"],
      ...["BigInt64Array", "BigUint64Array"],
    ]
  ) {
    watch(name, (globalThis as never)[name]["BYTES_PER_ELEMENT"]);
  }
  const { Memory } = WebAssembly;
  WebAssembly.Memory = new Proxy(Memory, {
    construct(target, [descriptor], self) {
      note(descriptor.initial * 65536);
      return Reflect.construct(target, [descriptor], self);
    },
  });
  const { grow } = Memory.prototype;
  Memory.prototype.grow = function (pages: number): number {
    note(pages * 65536);
    return grow.call(this, pages);
  };
  const repeat = String.prototype.repeat;
  String.prototype.repeat = function (count: number): string {
    note(this.length * count);
    return repeat.call(this, count);
  };
}

/** Begins to count anew. */
export function forgetAllocations(): void {
  largest = total = 0;
}

/** What was asked for since {@linkcode forgetAllocations}. */
export function allocations(): Allocations {
  return { largest, total };
}

function watch(name: string, bytesEach: number): void {
  const globals = globalThis as unknown as Record<string, new (...args: unknown[]) => object>;
  const real = globals[name];
  const noteLength = (args: unknown[]) => {
    if (args.length === 1 && typeof args[0] === "number") note(args[0] * bytesEach);
  };
  globals[name] = new Proxy(real, {
    construct(target, args, self) {
      noteLength(args);
      return Reflect.construct(target, args, self);
    },
    apply(target, self, args) {
      noteLength(args);
      return Reflect.apply(target as never, self, args);
    },
  });
}

function note(bytes: number): void {
  if (bytes > largest) largest = bytes;
  if (bytes > 0) total += bytes;
  if (bytes > MAX_BYTES) {
    throw new RangeError(`allocation of ${bytes} bytes refused by the fuzzer`);
  }
}
