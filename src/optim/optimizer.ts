/**
 * What the optimizers have in common: parameters in groups, f32 master weights, state in and out.
 *
 * @module
 */
import { adamwCorrection } from "../../kernels/optimizer/adamw.ts";
import { axpy } from "../../kernels/elementwise/axpy.ts";
import type { Device } from "../device/device.ts";
import { constant } from "../tensor/create.ts";
import { formatShape } from "../tensor/shape.ts";
import { type Tensor, watch, type Watched } from "../tensor/tensor.ts";
import { clipGradNorm } from "./clip_grad_norm.ts";
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
}

/** A parameter and what is known of it. */
export interface Slot {
  /** Its name. */
  readonly name: string;
  /** The tensor that the model uses. */
  readonly parameter: Tensor;
  /** The f32 weights that are updated: the parameter itself, or its master copy where it is f16. */
  readonly weights: Tensor;
  /** Moving averages and their like, by name; none while the parameter is frozen. */
  readonly averages: Readonly<Record<string, Tensor>>;
  /** Its weight decay. */
  readonly weightDecay: number;
  /** What the learning rate is multiplied with. */
  readonly lrScale: number;
}

/** What one parameter is updated with. */
export interface Update {
  /** Its gradient. */
  readonly grad: Tensor;
  /** The model's f16 tensor where `weights` of the slot is its f32 master. */
  readonly copy: Tensor | undefined;
  /** What the gradient is multiplied with; 0 to change nothing. */
  readonly gradScale: Tensor;
  /** Adam's corrections of the bias of its averages, (2). */
  readonly correction: Tensor;
  /** The learning rate. */
  readonly lr: number;
}

/** A slot under construction: `weights` and `averages` come with the first gradient of a frozen parameter. */
type OpenSlot = {
  -readonly [K in keyof Slot]: K extends "averages" ? Record<string, Tensor> : Slot[K];
};

/** The base of `AdamW`, `Adam` and `SGD`. */
export abstract class Optimizer implements Disposable {
  /** The learning rate where a step names none. */
  lr: number;
  /** The device of the parameters. */
  protected readonly device: Device;
  readonly #name: string;
  readonly #averages: readonly string[];
  readonly #logBetas: readonly [number, number];
  readonly #slots: OpenSlot[];
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
   * `averages` names the f32 tensors of its shape that each parameter needs. Throws a `TypeError` for
   * parameters that are not floating-point, on several devices, or given twice.
   */
  protected constructor(
    name: string,
    parameters: NamedParameters,
    averages: readonly string[],
    options: {
      readonly lr: number;
      readonly groups: readonly ParameterGroup[];
      readonly weightDecay: number;
      /** Decay rates of Adam's averages. */
      readonly betas?: readonly [number, number];
    },
  ) {
    this.#name = name;
    this.#averages = averages;
    const [beta1, beta2] = options.betas ?? [0, 0];
    const logOf = (beta: number) => Math.max(Math.log(beta), -1000);
    this.#logBetas = [logOf(beta1), logOf(beta2)];
    this.lr = this.#checkRate(options.lr);
    const entries = checkParameters(name, parameters);
    this.device = entries[0]![1].device;
    this.#slots = entries.map(([key, parameter]) => {
      const group = options.groups.find(({ select }) => select(key, parameter));
      const { weightDecay = options.weightDecay, lrScale = 1 } = group ?? {};
      if (!(weightDecay >= 0 && weightDecay < Infinity)) {
        throw new RangeError(
          `${name}: expected a weightDecay of at least 0 for "${key}" but got ${weightDecay}`,
        );
      }
      const slot = { name: key, parameter, weights: parameter, averages: {}, weightDecay, lrScale };
      if (parameter.requiresGrad) this.#allocate(slot);
      return slot;
    });
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
   * Throws a `TypeError` when no parameter has a gradient, a `RangeError` for a senseless rate.
   */
  step(options?: StepOptions): void {
    const lr = this.#checkRate(options?.lr ?? this.lr);
    const { gradScale } = options ?? {};
    if (gradScale && (gradScale.size !== 1 || gradScale.dtype !== "f32")) {
      throw new TypeError(
        `${this.#name}: expected a gradScale of one f32 but got ${gradScale.dtype} of shape ` +
          formatShape(gradScale.shape),
      );
    }
    if (gradScale) return this.#update(lr, gradScale);
    const all = new Map(this.#slots.map(({ name, parameter }) => [name, parameter]));
    const { norm, factor } = clipGradNorm(all, Infinity);
    this.#update(lr, factor);
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
    const tensors = new Map([["step", this.#step]]);
    for (const slot of this.#slots) {
      // One that was frozen has none until it is unfrozen.
      if (slot.parameter.requiresGrad && !slot.parameter.disposed) this.#allocate(slot);
      const { name, parameter, weights, averages } = slot;
      for (const [average, tensor] of Object.entries(averages)) {
        tensors.set(`${average}.${name}`, tensor);
      }
      if (weights !== parameter) tensors.set(`master.${name}`, weights);
    }
    return tensors;
  }

  /**
   * Takes up a saved state: exactly the names and shapes of {@linkcode Optimizer.state}. Throws an `Error`
   * that names what is missing, foreign or of another shape, and then nothing has changed.
   */
  restore(stored: ReadonlyMap<string, StoredTensor>): void {
    for (const slot of this.#slots) {
      // A parameter that was trained before it was frozen has averages.
      if (this.#averages.some((average) => stored.has(`${average}.${slot.name}`))) {
        this.#allocate(slot);
      }
    }
    restoreTensors(this.#name, this.state(), stored);
    this.#lastRead = undefined;
  }

  /** Frees its own memory; the parameters stay. */
  [Symbol.dispose](): void {
    this.state().forEach((tensor) => tensor.dispose());
    this.#correction.dispose();
  }

  /** The same as `using`: frees its own memory; the parameters stay. */
  dispose(): void {
    this[Symbol.dispose]();
  }

  /** Updates one parameter. */
  protected abstract update(slot: Slot, update: Update): void;

  #update(lr: number, gradScale: Tensor): void {
    const due = this.#slots.flatMap((slot) => {
      const grad = gradOf(this.#name, slot.name, slot.parameter);
      return grad ? [{ slot, grad }] : [];
    });
    if (due.length === 0) throw new TypeError(`${this.#name}: no parameter has a gradient`);
    const [logBeta1, logBeta2] = this.#logBetas;
    const correction = this.#correction;
    this.#launched++;
    const counted = { gradScale, step: this.#step, correction };
    this.device.launch(adamwCorrection, counted, { logBeta1, logBeta2 });
    for (const { slot, grad } of due) {
      this.#allocate(slot);
      const copy = slot.weights === slot.parameter ? undefined : slot.parameter;
      this.update(slot, { grad, copy, gradScale, correction, lr: lr * slot.lrScale });
    }
  }

  /** Makes the averages and the master copy of a parameter, where it has none yet. */
  #allocate(slot: OpenSlot): void {
    const { parameter, averages } = slot;
    for (const average of this.#averages) {
      averages[average] ??= constant(this.device, parameter.shape, 0).keep();
    }
    if (parameter.dtype !== "f32" && slot.weights === parameter) slot.weights = widened(parameter);
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

/** An f32 copy. */
function widened(half: Tensor): Tensor {
  const copy = constant(half.device, half.shape, 0).keep();
  half.device.launch(axpy, { x: half, y: copy }, { count: half.size, a: 1 });
  return copy;
}
