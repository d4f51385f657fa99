/**
 * What the optimizers have in common: parameters in groups, f32 master weights, state in and out.
 *
 * @module
 */
import { adamwCorrection } from "../../kernels/optimizer/adamw.ts";
import { axpy } from "../../kernels/elementwise/axpy.ts";
import { fill } from "../../kernels/elementwise/fill.ts";
import type { Binding, Device } from "../device/device.ts";
import { BYTES, type DType } from "../device/dtype.ts";
import { constant } from "../tensor/create.ts";
import { formatShape } from "../tensor/shape.ts";
import { joinNeighbours, Slab } from "../tensor/slab.ts";
import { type Tensor, watch, type Watched } from "../tensor/tensor.ts";
import { checkClipped, clipGradNorm } from "./clip_grad_norm.ts";
import { checkParameters, gradOf, type NamedParameters, zeroGrad } from "./parameters.ts";
import { restoreTensors, type StoredTensor } from "./stored.ts";

/** Parameters that are treated alike. */
export interface ParameterGroup {
  /** Which parameters belong to it. A parameter belongs to the first group that says so. */
  readonly select: (name: string, parameter: Tensor) => boolean;
  /** Its weight decay; default: the optimizer's. */
  readonly weightDecay?: number;
  /** What the learning rate is multiplied with. Default: 1. */
  readonly lrScale?: number;
}

/** Options that every optimizer has. */
export interface OptimizerOptions {
  /** The learning rate where a step names none. */
  readonly lr?: number;
  /** The optimizer's weight decay. */
  readonly weightDecay?: number;
  /** Parameters that are treated otherwise than the rest. */
  readonly groups?: readonly ParameterGroup[];
}

/** Options of a step. */
export interface StepOptions {
  /** The learning rate of this step; default: the optimizer's. */
  readonly lr?: number;
  /** What gradients are multiplied with, one element on the device: `factor` of `clipGradNorm`. */
  readonly gradScale?: Tensor;
  /** The caller finds out by itself where a step changed nothing, as with a `DeviceStepGuard`: no warning. Default: false. */
  readonly checked?: boolean;
}

/** How a parameter is updated. */
export interface Method {
  /** The names of the f32 tensors of its shape that it needs, such as `m`. */
  readonly averages: readonly string[];
  /** Its weight decay, unless its group has another. */
  readonly weightDecay: number;
  /** What the learning rate is multiplied with, beside its group's factor. Default: 1. */
  readonly lrScale?: number;
  /** Rows and columns, where only matrices of one shape are updated together. */
  readonly matrix?: readonly [rows: number, columns: number] | undefined;
}

/** Parameters that are updated in one launch, as their elements lie side by side. */
export interface Run {
  /** The f32 weights `p`, the gradients `g`, the averages by name, and where `p` are f32 masters the f16 `copy`. */
  readonly bindings: Readonly<Record<string, Binding | undefined>>;
  /** How many elements each has. */
  readonly count: number;
  /** Rows and columns of each matrix, where the {@linkcode Method} has them. */
  readonly matrix: Method["matrix"];
  /** Their weight decay. */
  readonly weightDecay: number;
  /** The learning rate. */
  readonly lr: number;
}

/** What all runs of a step share. */
export interface Update {
  /** What the gradients are multiplied with; 0 to change nothing. */
  readonly gradScale: Tensor;
  /** Adam's corrections of the bias of its averages, (2). */
  readonly correction: Tensor;
}

/** A parameter and what is known of it. */
interface Slot {
  readonly name: string;
  /** The tensor that the model uses. */
  readonly parameter: Tensor;
  /** What is updated alike, with the same key. */
  readonly group: Method & { readonly key: string; readonly lrScale: number };
  /** The state, once the parameter is to be trained. */
  state?: SlotState;
}

interface SlotState {
  /** The f32 weights that are updated: the parameter itself, or its master copy where it is f16. */
  readonly weights: Tensor;
  /** Moving averages and their like, by name. */
  readonly averages: Readonly<Record<string, Tensor>>;
}

/** The most bytes of f32 that lie in one buffer: what is moved there is twice in memory for a moment. */
export const SLAB_BYTES = 256 * 2 ** 20;

/** The base of `AdamW`, `Adam`, `Muon` and `SGD`. */
export abstract class Optimizer implements Disposable {
  /** The learning rate where a step names none. */
  lr: number;
  /** The device of the parameters. */
  protected readonly device: Device;
  readonly #name: string;
  readonly #logBetas: readonly [number, number];
  readonly #slots: readonly Slot[];
  /** The steps that were not refused, counted on the device: only there is it known. */
  readonly #step: Tensor;
  readonly #correction: Tensor;
  /** Steps launched, and the device's count, when that was last read; undefined where it is not known. */
  #launched = 0;
  #lastRead: { launched: number; done: number } | undefined = { launched: 0, done: 0 };
  #warned = false;
  /** Held here only, so that a forgotten optimizer can be collected. */
  readonly #counter: Watched;

  /**
   * `methodOf` tells how a parameter is updated. Throws a `TypeError` for parameters that are not floating-point, on
   * several devices, or given twice.
   */
  protected constructor(
    name: string,
    parameters: NamedParameters,
    methodOf: (name: string, parameter: Tensor) => Method,
    options: {
      readonly lr: number;
      readonly groups: readonly ParameterGroup[];
      /** Decay rates of Adam's averages. */
      readonly betas?: readonly [number, number];
    },
  ) {
    this.#name = name;
    const [beta1, beta2] = options.betas ?? [0, 0];
    const logOf = (beta: number) => Math.max(Math.log(beta), -1000);
    this.#logBetas = [logOf(beta1), logOf(beta2)];
    this.lr = this.#checkRate(options.lr);
    const entries = checkParameters(name, parameters);
    this.device = entries[0]![1].device;
    this.#slots = entries.map(([key, parameter]) => {
      return {
        name: key,
        parameter,
        group: this.#groupOf(key, parameter, methodOf, options.groups),
      };
    });
    this.#allocate(this.#slots.filter(({ parameter }) => parameter.requiresGrad));
    this.#step = constant(this.device, [], 0).keep();
    this.#correction = constant(this.device, [2], 1).keep();
    this.#counter = { watched: this.#step, beginRead: () => this.#beginCheck() };
    watch(this.#counter);
  }

  /**
   * Updates every parameter that has a gradient; launches only, never waits. Where a gradient is not
   * finite (`gradScale` is 0, as `clipGradNorm` makes it) the whole step changes nothing: a warning says so when
   * anything is read from the device next, such as the loss; `checkGradNorm` tells which gradient it was. Without a
   * `gradScale` the norm is taken here, to know that.
   *
   * Throws a `TypeError` when no parameter has a gradient, and without a `gradScale` for gradients that `clipGradNorm` was to
   * clip; a `RangeError` for a senseless rate.
   */
  step(options?: StepOptions): void {
    const lr = this.#checkRate(options?.lr ?? this.lr);
    const { gradScale, checked = false } = options ?? {};
    if (gradScale && (gradScale.size !== 1 || gradScale.dtype !== "f32")) {
      throw new TypeError(
        `${this.#name}: expected a gradScale of one f32 but got ${gradScale.dtype} of shape ` +
          formatShape(gradScale.shape),
      );
    }
    const due = this.#slots.filter(({ name, parameter }) => gradOf(this.#name, name, parameter));
    if (due.length === 0) {
      throw new TypeError(
        `${this.#name}: expected a gradient but got none for any parameter; call backward() first`,
      );
    }
    checkClipped(`${this.#name}.step`, due.map(({ parameter }) => parameter.grad!), !!gradScale);
    if (gradScale) {
      this.#update(lr, gradScale, due);
      if (checked) this.#lastRead = undefined;
      return;
    }
    const all = new Map(due.map(({ name, parameter }) => [name, parameter]));
    const { norm, factor } = clipGradNorm(all, Infinity);
    this.#update(lr, factor, due);
    norm.dispose();
    factor.dispose();
  }

  /** Frees the gradients of all parameters. */
  zeroGrad(): void {
    zeroGrad(Object.fromEntries(this.#slots.map(({ name, parameter }) => [name, parameter])));
  }

  /**
   * What a checkpoint must hold beside the model's parameters, by name: the live tensors, not copies. `m`
   * of the parameter `wte.weight` is called `m.wte.weight`, its f32 master copy `master.wte.weight`.
   */
  state(): Map<string, Tensor> {
    // One that was frozen has none until it is unfrozen.
    this.#allocate(
      this.#slots.filter(({ parameter }) => parameter.requiresGrad && !parameter.disposed),
    );
    const tensors = new Map([["step", this.#step]]);
    for (const { name, parameter, state } of this.#slots) {
      if (!state) continue;
      for (const [average, tensor] of Object.entries(state.averages)) {
        tensors.set(`${average}.${name}`, tensor);
      }
      if (state.weights !== parameter) tensors.set(`master.${name}`, state.weights);
    }
    return tensors;
  }

  /**
   * Takes up a saved state: exactly the names and shapes of {@linkcode Optimizer.state}. Throws an `Error`
   * that names what is missing, foreign or of another shape, and then nothing has changed.
   */
  restore(stored: ReadonlyMap<string, StoredTensor>): void {
    // A parameter that was trained before it was frozen has averages.
    this.#allocate(
      this.#slots.filter(({ name, group }) =>
        group.averages.some((average) => stored.has(`${average}.${name}`))
      ),
    );
    restoreTensors(this.#name, this.state(), stored);
    this.#lastRead = undefined;
  }

  /** Frees its own memory; the parameters stay. */
  [Symbol.dispose](): void {
    this.state().forEach((tensor) => tensor.dispose());
    this.#slots.forEach(({ parameter }) => parameter.gradPlace = null);
    this.#correction.dispose();
  }

  /** The same as `using`: frees its own memory; the parameters stay. */
  dispose(): void {
    this[Symbol.dispose]();
  }

  /** Updates the parameters of a run. */
  protected abstract update(run: Run, update: Update): void;

  #update(lr: number, gradScale: Tensor, due: readonly Slot[]): void {
    this.#allocate(due);
    const [logBeta1, logBeta2] = this.#logBetas;
    const correction = this.#correction;
    this.#launched++;
    const counted = { gradScale, step: this.#step, correction };
    this.device.launch(adamwCorrection, counted, { logBeta1, logBeta2 });
    for (const slots of Map.groupBy(due, ({ group }) => group.key).values()) {
      const { weightDecay, lrScale, matrix } = slots[0]!.group;
      for (const bindings of joinNeighbours(slots.map(bindingsOf))) {
        const run = { bindings, count: bindings.p!.size, matrix, weightDecay, lr: lr * lrScale };
        this.update(run, { gradScale, correction });
      }
    }
  }

  /**
   * Makes the state of parameters that have none yet. What is updated alike comes to lie side by side, the parameters
   * themselves included, and so do the gradients that the next backward pass makes.
   */
  #allocate(slots: readonly Slot[]): void {
    const fresh = slots.filter(({ state }) => !state);
    const kinds = Map.groupBy(fresh, ({ group, parameter }) => `${group.key} ${parameter.dtype}`);
    for (const alike of kinds.values()) {
      for (const together of inSlabs(alike, this.device)) this.#allocateTogether(together);
    }
  }

  #allocateTogether(slots: readonly Slot[]): void {
    const { device } = this;
    const { dtype } = slots[0]!.parameter;
    const shapes = slots.map(({ parameter }) => parameter.shape);
    const step = stepOf(dtype, device);
    const slab = (dtype: DType) => new Slab(device, shapes, dtype, step);
    const zeros = (): Tensor[] => {
      const memory = slab("f32");
      const tensors = slots.map((_, i) => memory.take(i)!.keep());
      for (const { y } of joinNeighbours(tensors.map((y) => ({ y })))) {
        device.launch(fill, { y }, { count: y.size, value: 0 });
      }
      return tensors;
    };
    const averages = slots[0]!.group.averages.map((name) => [name, zeros()] as const);
    const masters = dtype === "f32" ? undefined : zeros();
    const places = slab(dtype), grads = slab(dtype);
    slots.forEach((slot, i) => {
      const { parameter } = slot;
      if (parameter.isOnlyUser) parameter.moveInto(places.take(i)!);
      parameter.gradPlace = () => grads.take(i);
      const weights = masters?.[i] ?? parameter;
      if (masters) device.launch(axpy, { x: parameter, y: weights }, { count: weights.size, a: 1 });
      slot.state = {
        weights,
        averages: Object.fromEntries(averages.map(([name, all]) => [name, all[i]!])),
      };
    });
  }

  /** What a parameter's method and group say together. */
  #groupOf(
    name: string,
    parameter: Tensor,
    methodOf: (name: string, parameter: Tensor) => Method,
    groups: readonly ParameterGroup[],
  ): Slot["group"] {
    const method = methodOf(name, parameter);
    const group = groups.find(({ select }) => select(name, parameter));
    const { averages, matrix } = method;
    const { weightDecay = method.weightDecay } = group ?? {};
    const lrScale = (method.lrScale ?? 1) * (group?.lrScale ?? 1);
    if (!(weightDecay >= 0 && weightDecay < Infinity)) {
      throw new RangeError(
        `${this.#name}: expected a weightDecay of at least 0 for "${name}" but got ${weightDecay}`,
      );
    }
    const key = [averages, weightDecay, lrScale, matrix].join(" ");
    return { averages, weightDecay, lrScale, matrix, key };
  }

  /** Compares the steps launched with those that the device has counted, when a read comes along. */
  #beginCheck(): (done: number) => void {
    const launched = this.#launched;
    return (done) => {
      const last = this.#lastRead;
      this.#lastRead = { launched, done };
      const refused = last ? launched - last.launched - (done - last.done) : 0;
      // With f16 gradients overflow now and then; the loss scaler sees to it.
      const half = this.#slots.some(({ parameter }) => parameter.dtype === "f16");
      if (refused <= 0 || half || this.#warned) return;
      this.#warned = true;
      console.warn(
        `dinograd: ${this.#name}.step() changed nothing in ${refused} of the last ${
          launched - last!.launched
        } steps, as a gradient was NaN or infinite; read the norm of clipGradNorm and see checkGradNorm`,
      );
    };
  }

  #checkRate(lr: number): number {
    if (!(lr >= 0 && lr < Infinity)) {
      throw new RangeError(`${this.#name}: expected a learning rate of at least 0 but got ${lr}`);
    }
    return lr;
  }
}

/** What an update binds of a parameter. */
function bindingsOf({ parameter, state }: Slot): Run["bindings"] {
  const { weights, averages } = state!;
  const copy = weights === parameter ? undefined : parameter;
  return { p: weights, g: parameter.grad!, ...averages, copy };
}

/** What tensors of a slab begin at multiples of, in elements, so that they and their f32 masters can be bound. */
function stepOf(dtype: DType, { bindingAlignment }: Device): number {
  return Math.ceil(bindingAlignment / BYTES[dtype]);
}

/** Cuts a list into slabs that are not too long; what ends where the next could begin comes first. */
function inSlabs(slots: readonly Slot[], device: Device): Slot[][] {
  const step = stepOf(slots[0]!.parameter.dtype, device);
  const isEven = ({ parameter }: Slot) => parameter.size % step === 0 && parameter.size % 4 === 0;
  const most = Math.min(SLAB_BYTES, device.maxBindingBytes) / BYTES.f32;
  const slabs: Slot[][] = [];
  let size = Infinity;
  for (const slot of [...slots.filter(isEven), ...slots.filter((slot) => !isEven(slot))]) {
    size += Math.ceil(slot.parameter.size / step) * step;
    if (size > most) {
      slabs.push([]);
      size = slot.parameter.size;
    }
    slabs.at(-1)!.push(slot);
  }
  return slabs;
}
