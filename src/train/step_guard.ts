/**
 * Decides what to do about a step that would harm the model.
 *
 * @module
 */
import { stepVerdict } from "../../kernels/optimizer/step_verdict.ts";
import type { Device } from "../device/device.ts";
import { stack } from "../ops/mod.ts";
import { assign, constant } from "../tensor/create.ts";
import { Tensor } from "../tensor/tensor.ts";

/** What happens to a step: its update is made or skipped, or the run ends. */
export type StepVerdict =
  | { readonly action: "apply"; readonly warning?: string | undefined }
  | { readonly action: "skip" | "stop"; readonly warning: string };

/** Options of {@linkcode StepGuard}. */
export interface StepGuardOptions {
  /** What to do if the loss or the norm of the gradients is not finite. Default: `stop`. */
  readonly onNaN?: "skip" | "stop";
  /**
   * A loss this many standard deviations above the running mean of about the last hundred steps is a spike. Default:
   * `Infinity`, so that none is.
   */
  readonly spike?: number | undefined;
  /** What to do at a spike. Default: `skip`. */
  readonly onSpike?: "skip" | "stop" | "warn";
  /** The number of skipped steps in a row at which the run ends all the same. Default: 10. */
  readonly maxSkips?: number;
}

/** The state of a {@linkcode StepGuard}, which can be stored as JSON. */
export interface StepGuardState {
  /** The running mean of the loss. */
  readonly mean: number;
  /** The running variance of the loss. */
  readonly variance: number;
  /** The number of losses in the running figures. */
  readonly count: number;
  /** The number of steps skipped in a row. */
  readonly skipped: number;
}

/** The default number of skipped steps in a row at which a run ends. */
const MAX_SKIPS = 10;
/** The number of steps after which the variation of the loss is known. */
const LEARNING = 20;
/** The weight of a new loss in the running figures, once there are enough. */
const WEIGHT = 0.01;
/** The minimum standard deviation in nats, so that a loss that hardly varies has no tiny spikes. */
const MIN_DEVIATION = 0.01;

/**
 * Checks every step by its loss and the norm of its gradients before the update, so that a skipped step changes neither
 * weights nor moments. PaLM skipped the batches around a spike in the same way (Chowdhery et al. 2022, section 5.1).
 *
 * @example
 * ```ts
 * import { StepGuard } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * const guard = new StepGuard({ onNaN: "skip" });
 * assert.equal(guard.check(3.2, 0.5).action, "apply");
 * assert.equal(guard.check(NaN, 0.5).action, "skip");
 * ```
 */
export class StepGuard {
  readonly #options: Required<StepGuardOptions>;
  #state: StepGuardState = { mean: 0, variance: 0, count: 0, skipped: 0 };

  /** Throws a `RangeError` unless `spike` and `maxSkips` are above 0. */
  constructor(options?: StepGuardOptions) {
    const { onNaN = "stop", spike = Infinity, onSpike = "skip", maxSkips = MAX_SKIPS } = options ??
      {};
    if (!(spike > 0) || !(maxSkips > 0)) {
      throw new RangeError(
        `StepGuard: expected spike and maxSkips above 0 but got ${spike} and ${maxSkips}`,
      );
    }
    this.#options = { onNaN, spike, onSpike, maxSkips };
  }

  /**
   * Returns what to do with a step, given its mean loss and the global norm of its gradients. With `isScaled`, for use
   * with a `LossScaler`, a norm that is not finite while the loss is finite is no fault: that is how the scale is
   * found.
   */
  check(loss: number, gradNorm: number, isScaled?: boolean): StepVerdict {
    const { onNaN, onSpike } = this.#options;
    if (!Number.isFinite(loss)) return this.#refuse(onNaN, `the loss is ${loss}`);
    if (!Number.isFinite(gradNorm) && !isScaled) {
      return this.#refuse(onNaN, `the norm of the gradients is ${gradNorm}`);
    }
    const spike = this.#spike(loss);
    if (spike && onSpike !== "warn") return this.#refuse(onSpike, spike);
    this.#learn(loss);
    return { action: "apply", warning: spike };
  }

  /** Returns the state, for a checkpoint. */
  state(): StepGuardState {
    return this.#state;
  }

  /** Restores a saved state. */
  restore(state: StepGuardState): void {
    this.#state = { ...state };
  }

  #spike(loss: number): string | undefined {
    const { mean, variance, count } = this.#state;
    const deviation = Math.max(Math.sqrt(variance), MIN_DEVIATION);
    if (count < LEARNING || loss - mean <= this.#options.spike! * deviation) return undefined;
    return `the loss ${loss.toFixed(4)} is ${((loss - mean) / deviation).toFixed(1)} standard ` +
      `deviations above ${mean.toFixed(4)}`;
  }

  #learn(loss: number): void {
    const { mean, variance, count } = this.#state;
    const weight = Math.max(WEIGHT, 1 / (count + 1));
    const difference = loss - mean;
    this.#state = {
      mean: mean + weight * difference,
      variance: (1 - weight) * (variance + weight * difference ** 2),
      count: count + 1,
      skipped: 0,
    };
  }

  #refuse(policy: "skip" | "stop", why: string): StepVerdict {
    if (policy === "stop") return { action: "stop", warning: why };
    const skipped = this.#state.skipped + 1;
    this.#state = { ...this.#state, skipped };
    return skipped < this.#options.maxSkips
      ? { action: "skip", warning: why }
      : { action: "stop", warning: `${why}, and ${skipped - 1} steps before were left out` };
  }
}

/** The inputs of {@linkcode DeviceStepGuard.check}, all on the device. */
export interface StepNumbers {
  /** The losses of the micro-batches, one number each. */
  readonly losses: readonly Tensor[];
  /** The global norm of the gradients, from `clipGradNorm`. */
  readonly norm: Tensor;
  /** The factor by which the gradients are to be multiplied, from `clipGradNorm`. */
  readonly factor: Tensor;
  /** As in {@linkcode StepGuard.check}. */
  readonly isScaled?: boolean;
}

/**
 * The part of {@linkcode StepGuard} that checks whether numbers are finite, on the device: nothing waits for the loss,
 * and a `StepGuard` that gets the numbers later reaches the same verdicts. After a step at which to stop, no later step
 * changes anything, so the run can end with the weights from before it, however late that is noticed.
 *
 * @example Numbers are read every tenth step
 * ```ts
 * import { AdamW, clipGradNorm, CpuDevice, DeviceStepGuard, mul, Scope, sum, tensor } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const x = tensor([1, 2], { device });
 * x.requiresGrad = true;
 * using optimizer = new AdamW({ x }, { lr: 0.1 });
 * using guard = new DeviceStepGuard(device);
 * for (let step = 1; step <= 20; step++) {
 *   using _scope = new Scope();
 *   const loss = sum(mul(x, x));
 *   loss.backward();
 *   const { norm, factor } = clipGradNorm({ x }, 1);
 *   optimizer.step({ gradScale: guard.check({ losses: [loss], norm, factor }) });
 *   optimizer.zeroGrad();
 *   if (step % 10 === 0) assert.equal(await guard.halted.item(), 0, `loss ${await loss.item()}`);
 * }
 * ```
 */
export class DeviceStepGuard implements Disposable {
  /** 1 after a step at which to stop, else 0. */
  readonly halted: Tensor;
  readonly #skipped: Tensor;
  readonly #maxSkips: number;

  /** Throws a `RangeError` unless `maxSkips` is above 0. */
  constructor(device: Device, options?: Pick<StepGuardOptions, "onNaN" | "maxSkips">) {
    const { onNaN = "stop", maxSkips = MAX_SKIPS } = options ?? {};
    if (!(maxSkips > 0)) {
      throw new RangeError(`DeviceStepGuard: expected maxSkips above 0 but got ${maxSkips}`);
    }
    this.#maxSkips = onNaN === "stop" ? 1 : Math.ceil(maxSkips);
    this.halted = constant(device, [], 0).keep();
    this.#skipped = constant(device, [], 0).keep();
  }

  /** Returns the factor by which an optimizer is to multiply the gradients of a step: 0 if the step is skipped. */
  check({ losses, norm, factor, isScaled = false }: StepNumbers): Tensor {
    const { device } = norm;
    const gradScale = Tensor.empty(device, []);
    using all = losses.length === 1 ? losses[0]!.alias() : stack(losses);
    device.launch(
      stepVerdict,
      { losses: all, norm, factor, skipped: this.#skipped, halted: this.halted, gradScale },
      { count: losses.length, scaled: Number(isScaled), maxSkips: this.#maxSkips },
    );
    return gradScale;
  }

  /** Starts again after `skipped` skipped steps in a row: the `skipped` of {@linkcode StepGuard.state}. */
  reset(skipped?: number): void {
    assign(this.halted, Float32Array.of(0));
    assign(this.#skipped, Float32Array.of(skipped ?? 0));
  }

  /** Frees its memory. */
  [Symbol.dispose](): void {
    this.halted.dispose();
    this.#skipped.dispose();
  }
}
