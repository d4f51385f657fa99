/**
 * Dynamic loss scaling for training with f16 gradients.
 *
 * @module
 */
import { updateLossScale } from "../../kernels/optimizer/loss_scale.ts";
import type { Device } from "../device/device.ts";
import { constant } from "../tensor/create.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { restoreTensors, type StoredTensor } from "./stored.ts";

/** Options of {@linkcode LossScaler}. */
export interface LossScalerOptions {
  /** The initial scale. Default: 2^16. */
  readonly initialScale?: number;
  /** The factor for the scale after `growthInterval` successful steps in a row. Default: 2. */
  readonly growthFactor?: number;
  /** The factor for the scale after a step whose gradients overflowed. Default: 0.5. */
  readonly backoffFactor?: number;
  /** The number of successful steps before the scale grows. Default: 2,000. */
  readonly growthInterval?: number;
}

/**
 * Scales the loss so that small gradients do not vanish in f16, and finds by trial the largest scale that does not
 * overflow. It lives on the device: a step whose gradients overflow is skipped and the scale lowered without a
 * read-back. (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2.)
 *
 * A step: `loss.backward(scaler.scale)`, `clipGradNorm(parameters, maxNorm, { scaler })`,
 * `optimizer.step({ gradScale: factor })`, `scaler.update(factor)`.
 */
export class LossScaler implements Disposable {
  /** The scale, a scalar on the device. Pass it to the `backward` of the loss. */
  readonly scale: Tensor;
  readonly #goodSteps: Tensor;
  readonly #rule: { growth: number; backoff: number; interval: number };

  /** Creates a scaler on the device of the model. Throws a `RangeError` for options out of range. */
  constructor(device: Device, options?: LossScalerOptions) {
    const { initialScale = 2 ** 16, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000 } =
      options ?? {};
    const sound = initialScale >= 1 && initialScale <= 2 ** 24 && growthFactor >= 1 &&
      backoffFactor > 0 && backoffFactor < 1 && growthInterval >= 1;
    if (!sound) {
      throw new RangeError(
        `LossScaler: expected 1 <= initialScale <= 2^24, growthFactor >= 1, 0 < backoffFactor < 1, ` +
          `growthInterval >= 1 but got ${initialScale}, ${growthFactor}, ${backoffFactor}, ${growthInterval}`,
      );
    }
    this.#rule = { growth: growthFactor, backoff: backoffFactor, interval: growthInterval };
    this.scale = constant(device, [], initialScale).keep();
    this.#goodSteps = constant(device, [], 0).keep();
  }

  /**
   * Adapts the scale after a step whose gradients were multiplied by `factor`, which is 0 for a skipped step. Does
   * nothing if `halted`, one number on the device, is not 0 (see `DeviceStepGuard`).
   */
  update(factor: Tensor, halted?: Tensor): void {
    this.scale.device.launch(
      updateLossScale,
      { gradScale: factor, lossScale: this.scale, goodSteps: this.#goodSteps, halted },
      this.#rule,
    );
  }

  /** Returns what a checkpoint must hold, by name: the live tensors, not copies. */
  state(): Map<string, Tensor> {
    return new Map([["scale", this.scale], ["good_steps", this.#goodSteps]]);
  }

  /** Restores a saved state. Throws an `Error` for missing names, unknown names and mismatched shapes. */
  restore(stored: ReadonlyMap<string, StoredTensor>): void {
    restoreTensors("LossScaler", this.state(), stored);
  }

  /** Frees its memory. */
  [Symbol.dispose](): void {
    this.scale.dispose();
    this.#goodSteps.dispose();
  }
}
