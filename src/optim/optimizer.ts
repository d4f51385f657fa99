/**
 * The base of the optimizers: parameter groups, f32 master weights, saving and restoring state.
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

/** Parameters with options of their own. */
export interface ParameterGroup {
  /** Selects the parameters of the group. A parameter belongs to the first group that selects it. */
  readonly select: (name: string, parameter: Tensor) => boolean;
  /** The weight decay of the group. Default: the optimizer's. */
  readonly weightDecay?: number;
  /** The factor for the learning rate. Default: 1. */
  readonly lrScale?: number;
}

/** Options common to all optimizers. */
export interface OptimizerOptions {
  /** The default learning rate, for steps that do not specify one. */
  readonly lr?: number;
  /** The optimizer's weight decay. */
  readonly weightDecay?: number;
  /** Groups of parameters with options of their own. */
  readonly groups?: readonly ParameterGroup[];
}

/** Options of {@linkcode Optimizer.step}. */
export interface StepOptions {
  /** The learning rate of this step. Default: the optimizer's. */
  readonly lr?: number;
  /** What gradients are multiplied by, one element on the device: the `factor` of `clipGradNorm`. */
  readonly gradScale?: Tensor;
  /**
   * Whether the caller detects skipped steps itself, as with a `DeviceStepGuard`, so that no warning is printed.
   * Default: false.
   */
  readonly checked?: boolean;
}

/** How a parameter is updated. */
export interface Method {
  /** The names of the f32 tensors of its shape that it needs, such as `m`. */
  readonly averages: readonly string[];
  /** Its weight decay, unless its group has another. */
  readonly weightDecay: number;
  /** The factor for the learning rate, besides that of the group. Default: 1. */
  readonly lrScale?: number;
  /** Rows and columns, if only matrices of one shape are updated together. */
  readonly matrix?: readonly [rows: number, columns: number] | undefined;
}

/** Parameters that one launch updates, since their elements are contiguous. */
export interface Run {
  /** The f32 weights `p`, the gradients `g`, the averages by name, and the f16 `copy` if `p` are f32 masters. */
  readonly bindings: Readonly<Record<string, Binding | undefined>>;
  /** The number of elements of each binding. */
  readonly count: number;
  /** Rows and columns of each matrix, if the {@linkcode Method} has them. */
  readonly matrix: Method["matrix"];
  /** Their weight decay. */
  readonly weightDecay: number;
  /** The learning rate. */
  readonly lr: number;
}

/** What all runs of a step share. */
export interface Update {
  /** What gradients are multiplied by; 0 changes nothing. */
  readonly gradScale: Tensor;
  /** Adam's bias corrections of its averages, (2). */
  readonly correction: Tensor;
}

/** A parameter and its state. */
interface Slot {
  readonly name: string;
  /** The tensor that the model uses. */
  readonly parameter: Tensor;
  /** How it is updated. Parameters with the same key are updated alike. */
  readonly group: Method & { readonly key: string; readonly lrScale: number };
  /** The state, once the parameter is trained. */
  state?: SlotState;
}

interface SlotState {
  /** The f32 weights that are updated: the parameter itself, or its master copy where it is f16. */
  readonly weights: Tensor;
  /** Moving averages and the like, by name. */
  readonly averages: Readonly<Record<string, Tensor>>;
}

/** Maximum bytes of f32 in one buffer. While tensors are moved into it, they are in memory twice. */
export const SLAB_BYTES = 256 * 2 ** 20;

/**
 * The base of `AdamW`, `Adam`, `Muon` and `SGD`. An optimizer of your own says which averages a parameter needs and
 * launches a kernel for its update. Clipping, skipped steps, groups, `state` and `restore` are the base's.
 *
 * @example Signs of gradients with momentum
 * ```ts
 * import { CpuDevice, type NamedParameters, Optimizer, type Run, tensor, type Update } from "@dinograd/dinograd";
 * import { kernel } from "@dinograd/dinograd/kernel";
 * import assert from "node:assert/strict";
 *
 * const signStep = kernel({
 *   name: "sign_step",
 *   bindings: { p: { update: "count" }, g: { read: "count" }, m: { update: "count" }, gradScale: { read: "1" } },
 *   params: { count: "u32", lr: "f32" },
 *   gpu: ({ count }) => ({
 *     workgroups: Math.ceil(count / 64),
 *     wgsl: `
 *       @compute @workgroup_size(64)
 *       fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
 *         let i = id.x + id.y * groups.x * 64;
 *         if (i >= params.count || grad_scale[0] == 0) { return; } // 0: a gradient is not finite
 *         m[i] = 0.9 * m[i] + 0.1 * g[i] * grad_scale[0];
 *         p[i] -= params.lr * sign(m[i]);
 *       }`,
 *   }),
 *   cpu({ p, g, m, gradScale }, { count, lr }) {
 *     if (gradScale[0] === 0) return;
 *     for (let i = 0; i < count; i++) {
 *       m[i] = 0.9 * m[i] + 0.1 * g[i] * gradScale[0];
 *       p[i] -= lr * Math.sign(m[i]);
 *     }
 *   },
 * });
 *
 * class SignSGD extends Optimizer {
 *   constructor(parameters: NamedParameters, lr: number) {
 *     super("SignSGD", parameters, () => ({ averages: ["m"], weightDecay: 0 }), { lr });
 *   }
 *   protected update({ bindings, count, lr }: Run, { gradScale }: Update): void {
 *     this.device.launch(signStep, { ...bindings, gradScale }, { count, lr });
 *   }
 * }
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using w = tensor([1, 2, 3], { device });
 * w.grad = tensor([5, 0, -5], { device });
 * using optimizer = new SignSGD({ w }, 0.5);
 * optimizer.step();
 * assert.deepEqual(await w.toArray(), [0.5, 2, 3.5]);
 * ```
 */
export abstract class Optimizer implements Disposable {
  /** The default learning rate, for steps that do not specify one. */
  lr: number;
  /** The device of the parameters. */
  protected readonly device: Device;
  readonly #name: string;
  readonly #logBetas: readonly [number, number];
  readonly #slots: readonly Slot[];
  /** The number of steps that were not skipped, counted on the device, since only it knows. */
  readonly #step: Tensor;
  readonly #correction: Tensor;
  /** The number of launched steps, and the device's count when it was last read; undefined if unknown. */
  #launched = 0;
  #lastRead: { launched: number; done: number } | undefined = { launched: 0, done: 0 };
  #warned = false;
  /** Referenced only here, so that a forgotten optimizer can be collected. */
  readonly #counter: Watched;

  /**
   * `methodOf` decides how a parameter is updated. Throws a `TypeError` for parameters that are not floats, that are on
   * several devices, or that are given twice.
   */
  protected constructor(
    name: string,
    parameters: NamedParameters,
    methodOf: (name: string, parameter: Tensor) => Method,
    options: {
      readonly lr: number;
      readonly groups?: readonly ParameterGroup[];
      /** The decay rates of Adam's averages. */
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
        group: this.#groupOf(key, parameter, methodOf, options.groups ?? []),
      };
    });
    this.#allocate(this.#slots.filter(({ parameter }) => parameter.requiresGrad));
    this.#step = constant(this.device, [], 0).keep();
    this.#correction = constant(this.device, [2], 1).keep();
    this.#counter = { watched: this.#step, beginRead: () => this.#beginCheck() };
    watch(this.#counter);
  }

  /**
   * Updates every parameter that has a gradient. Only launches kernels; never waits for the device. If a gradient is
   * not finite (`gradScale` is 0, as `clipGradNorm` makes it), the step changes nothing; a warning says so when
   * something is next read from the device, such as the loss, and `checkGradNorm` tells which gradient it was. Without
   * a `gradScale`, the step computes the norm itself for this check.
   *
   * Throws a `TypeError` if no parameter has a gradient, or if gradients passed to `clipGradNorm` come without a
   * `gradScale`; and a `RangeError` for an invalid rate.
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
   * Returns what a checkpoint must hold besides the model's parameters, by name: the live tensors, not copies. The `m`
   * of the parameter `wte.weight` is called `m.wte.weight`, its f32 master copy `master.wte.weight`.
   */
  state(): Map<string, Tensor> {
    // Parameters that were frozen from the start have no state until they are unfrozen.
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
   * Restores a saved state with exactly the names and shapes of {@linkcode Optimizer.state}. Throws an `Error` that
   * lists missing names, unknown names and mismatched shapes; in that case nothing has changed.
   */
  restore(stored: ReadonlyMap<string, StoredTensor>): void {
    // A parameter that was trained before it was frozen has state.
    this.#allocate(
      this.#slots.filter(({ name, group }) =>
        group.averages.some((average) => stored.has(`${average}.${name}`))
      ),
    );
    restoreTensors(this.#name, this.state(), stored);
    this.#lastRead = undefined;
  }

  /** Frees the optimizer's memory; the parameters stay. */
  [Symbol.dispose](): void {
    this.state().forEach((tensor) => tensor.dispose());
    this.#slots.forEach(({ parameter }) => parameter.gradPlace = null);
    this.#correction.dispose();
  }

  /** Frees the optimizer's memory, like `using`; the parameters stay. */
  dispose(): void {
    this[Symbol.dispose]();
  }

  /** Launches the update of the parameters of a run. */
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
   * Creates the state of parameters that have none yet. Parameters that are updated alike become contiguous in memory,
   * and so do their states and the gradients of the next backward pass.
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

  /** A parameter's method and group options combined. */
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

  /** Compares the number of launched steps with the device's count, when a read brings it along. */
  #beginCheck(): (done: number) => void {
    const launched = this.#launched;
    return (done) => {
      const last = this.#lastRead;
      this.#lastRead = { launched, done };
      const refused = last ? launched - last.launched - (done - last.done) : 0;
      // f16 gradients overflow now and then; the loss scaler handles that.
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

/** The bindings of a parameter's update. */
function bindingsOf({ parameter, state }: Slot): Run["bindings"] {
  const { weights, averages } = state!;
  const copy = weights === parameter ? undefined : parameter;
  return { p: weights, g: parameter.grad!, ...averages, copy };
}

/**
 * The alignment of tensors in a slab, in elements, such that both they and their f32 masters can be bound. A binding takes
 * at least 16 bytes (`spanOf`), and those of one launch must not overlap.
 */
function stepOf(dtype: DType, { bindingAlignment }: Device): number {
  return Math.ceil(Math.max(16, bindingAlignment) / BYTES[dtype]);
}

/**
 * Splits a list into slabs of limited length. Tensors that end at an aligned offset come first, so that no gaps arise.
 */
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
