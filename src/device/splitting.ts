/**
 * Splits a launch whose bindings are longer than the device can bind into several launches over ranges of independent
 * units (see `KernelDefinition.split`).
 *
 * @module
 */
import type { Binding } from "./device.ts";
import { BYTES } from "./dtype.ts";
import { DeviceError } from "./errors.ts";
import type { Kernel, Params } from "./kernel.ts";
import { sizeOfAxes } from "./kernel_spec.ts";

/** The bindings of a launch by name. Optional ones may be missing. */
export type Bindings = Readonly<Record<string, Binding | undefined>>;

/** One of the launches that a launch is split into. */
export interface Piece<P extends Params> {
  /** The bindings. Those that advance with the units are narrowed to this piece. */
  readonly bindings: Bindings;
  /** The parameters, with this piece's number of units and, if the kernel asks for it, its first unit. */
  readonly params: P;
}

/** The device's limits for bindings. */
export interface BindingLimits {
  /** Maximum bytes of a binding. */
  readonly maxBindingBytes: number;
  /** What the byte offset of a binding must be a multiple of. */
  readonly bindingAlignment: number;
}

/** The bytes that a binding spans. */
function bindingBytes(binding: Binding): number {
  return binding.size * BYTES[binding.dtype];
}

/** Whether some binding is longer than the limit. */
export function needsSplit(bindings: Bindings, maxBindingBytes: number): boolean {
  for (const name in bindings) {
    const binding = bindings[name];
    if (binding && bindingBytes(binding) > maxBindingBytes) return true;
  }
  return false;
}

/**
 * The launches that together do the work of one launch without exceeding the limit; the launch itself if it fits. All
 * pieces except the last have the same number of units: the most that fit and keep all bindings aligned.
 *
 * Throws a {@linkcode DeviceError} that names the kernel, the binding, its bytes and the limit if the kernel does not
 * say how to split it, or if the units cannot be split that way.
 */
export function splitLaunch<P extends Params>(
  kernel: Kernel<P>,
  bindings: Bindings,
  params: P,
  limits: BindingLimits,
): Piece<P>[] {
  const { maxBindingBytes } = limits;
  if (!needsSplit(bindings, maxBindingBytes)) return [{ bindings, params }];
  const { split: along, splitStart } = kernel;
  const advancing = advancingBindings(kernel, bindings, params, maxBindingBytes);
  const units = params[along!]!;
  const run = unitsOfPiece(kernel, advancing, units, limits);
  const pieces: Piece<P>[] = [];
  for (let first = 0; first < units; first += run) {
    const count = Math.min(run, units - first);
    const narrowed: Record<string, Binding | undefined> = { ...bindings };
    for (const { name, binding, elements } of advancing) {
      narrowed[name] = {
        buffer: binding.buffer,
        dtype: binding.dtype,
        offset: binding.offset + first * elements,
        size: count * elements,
      };
    }
    const own: Params = { ...params, [along!]: count };
    if (splitStart !== undefined) own[splitStart] = params[splitStart]! + first;
    pieces.push({ bindings: narrowed, params: own as P });
  }
  return pieces;
}

/** A binding of which each piece has its own part. */
interface Advancing {
  readonly name: string;
  readonly binding: Binding;
  /** Elements per unit. */
  readonly elements: number;
  /** Bytes per unit. */
  readonly bytes: number;
}

/** The bindings that advance along the axis of the split. Throws if any other binding is too long. */
function advancingBindings<P extends Params>(
  { name: kernel, slots, split: along }: Kernel<P>,
  bindings: Bindings,
  params: P,
  maxBindingBytes: number,
): Advancing[] {
  const advancing: Advancing[] = [];
  for (const slot of slots) {
    const { name } = slot;
    const binding = bindings[name];
    if (!binding) continue;
    const [first, ...inner] = slot.axes(params);
    if (first === along) {
      const elements = sizeOfAxes(inner, params);
      advancing.push({ name, binding, elements, bytes: elements * BYTES[binding.dtype] });
      continue;
    }
    if (bindingBytes(binding) <= maxBindingBytes) continue;
    throw new DeviceError(
      `kernel "${kernel}": expected binding "${name}" to span at most the ${maxBindingBytes} bytes that this ` +
        `device can bind but got ${bindingBytes(binding)}, and ` +
        (along === undefined ? "the kernel cannot be split" : `it does not advance with ${along}`),
    );
  }
  return advancing;
}

/** The maximum number of units per piece with which all bindings fit and are aligned. */
function unitsOfPiece<P extends Params>(
  { name, split: along }: Kernel<P>,
  advancing: readonly Advancing[],
  units: number,
  { maxBindingBytes, bindingAlignment }: BindingLimits,
): number {
  // The smallest number of units after which every advancing binding is aligned again.
  const step = advancing.reduce((step, { bytes }) => {
    const own = bindingAlignment / greatestCommonDivisor(bindingAlignment, bytes);
    return leastCommonMultiple(step, own);
  }, 1);
  const widest = advancing.reduce((a, b) => a.bytes > b.bytes ? a : b);
  const most = Math.min(units, Math.floor(maxBindingBytes / widest.bytes));
  const run = Math.floor(most / step) * step;
  if (run > 0) return run;
  throw new DeviceError(
    `kernel "${name}": expected ${step} of ${along} at a time, which keeps binding "${widest.name}" ` +
      `aligned, to span at most the ${maxBindingBytes} bytes that this device can bind but got ` +
      `${widest.bytes} bytes for each`,
  );
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function leastCommonMultiple(a: number, b: number): number {
  return a / greatestCommonDivisor(a, b) * b;
}
