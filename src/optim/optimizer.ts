/**
 * What the optimizers have in common: parameters in groups, f32 master weights, state in and out.
 *
 * @module
 */
import { axpy } from "../../kernels/axpy.ts";
import type { Device } from "../device/device.ts";
import { constant } from "../tensor/create.ts";
import { formatShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
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
  /** Moving averages and their like, by name. */
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
  /** The learning rate. */
  readonly lr: number;
}

/** The base of `AdamW`, `Adam` and `SGD`. */
export abstract class Optimizer implements Disposable {
  /** The learning rate where a step names none. */
  lr: number;
  /** The device of the parameters. */
  protected readonly device: Device;
  readonly #name: string;
  readonly #slots: Slot[];

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
    },
  ) {
    this.#name = name;
    this.lr = this.#checkRate(options.lr);
    const entries = checkParameters(name, parameters);
    this.device = entries[0][1].device;
    this.#slots = entries.map(([key, parameter]) => {
      const group = options.groups.find(({ select }) => select(key, parameter));
      const { weightDecay = options.weightDecay, lrScale = 1 } = group ?? {};
      if (!(weightDecay >= 0 && weightDecay < Infinity)) {
        throw new RangeError(
          `${name}: expected a weightDecay of at least 0 for "${key}" but got ${weightDecay}`,
        );
      }
      const zeros = () => constant(this.device, parameter.shape, 0).keep();
      return {
        name: key,
        parameter,
        weights: parameter.dtype === "f32" ? parameter : widened(parameter),
        averages: Object.fromEntries(averages.map((average) => [average, zeros()])),
        weightDecay,
        lrScale,
      };
    });
  }

  /**
   * Updates every parameter that has a gradient; launches only, never waits. Where a gradient is not
   * finite (`gradScale` is 0, as `clipGradNorm` makes it) the whole step changes nothing: read the norm
   * and see `checkGradNorm`. Without a `gradScale` the norm is taken here, to know that.
   *
   * Throws a `TypeError` when no parameter has a gradient, a `RangeError` for a senseless rate.
   */
  step(options: StepOptions = {}): void {
    const lr = this.#checkRate(options.lr ?? this.lr);
    const { gradScale } = options;
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
    const tensors = new Map(this.counters());
    for (const { name, parameter, weights, averages } of this.#slots) {
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
    restoreTensors(this.#name, this.state(), stored);
  }

  /** Frees its own memory; the parameters stay. */
  [Symbol.dispose](): void {
    this.state().forEach((tensor) => tensor.dispose());
  }

  /** State of the whole optimizer, by name. */
  protected counters(): Iterable<[string, Tensor]> {
    return [];
  }

  /** Runs before the parameters are updated. */
  protected begin(_gradScale: Tensor): void {}

  /** Updates one parameter. */
  protected abstract update(slot: Slot, update: Update): void;

  #update(lr: number, gradScale: Tensor): void {
    const due = this.#slots.flatMap((slot) => {
      const grad = gradOf(this.#name, slot.name, slot.parameter);
      return grad ? [{ slot, grad }] : [];
    });
    if (due.length === 0) throw new TypeError(`${this.#name}: no parameter has a gradient`);
    this.begin(gradScale);
    for (const { slot, grad } of due) {
      const copy = slot.weights === slot.parameter ? undefined : slot.parameter;
      this.update(slot, { grad, copy, gradScale, lr: lr * slot.lrScale });
    }
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
