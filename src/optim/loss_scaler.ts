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
  /** The first scale. Default: 2^16. */
  readonly initialScale?: number;
  /** What the scale is multiplied with after `growthInterval` good steps in a row. Default: 2. */
  readonly growthFactor?: number;
  /** What it is multiplied with after a step whose gradients overflowed. Default: 0.5. */
  readonly backoffFactor?: number;
  /** Good steps before the scale grows. Default: 2,000. */
  readonly growthInterval?: number;
}

/**
 * Multiplies the loss so that small gradients do not vanish in f16, finds the largest scale that does not
 * overflow by trial, and lives on the device: a step whose gradients overflowed is refused and the scale
 * lowered without a read-back. (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2.)
 *
 * A step: `loss.backward(scaler.scale)`, `clipGradNorm(parameters, maxNorm, { scaler })`,
 * `optimizer.step({ gradScale: factor })`, `scaler.update(factor)`.
 */
export class LossScaler implements Disposable {
  /** The scale, a scalar on the device: the gradient to start the backward pass of the loss from. */
  readonly scale: Tensor;
  readonly #goodSteps: Tensor;
  readonly #rule: { growth: number; backoff: number; interval: number };

  /** A scaler on the device of the model. Throws a `RangeError` for factors that make no sense. */
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
   * Adapts the scale to a step whose gradients were multiplied with `factor`, 0 for a refused one; not where `halted`, one
   * number on the device, is not 0 (see `DeviceStepGuard`).
   */
  update(factor: Tensor, halted?: Tensor): void {
    this.scale.device.launch(
      updateLossScale,
      { gradScale: factor, lossScale: this.scale, goodSteps: this.#goodSteps, halted },
      this.#rule,
    );
  }

  /** What a checkpoint must hold, by name: the live tensors, not copies. */
  state(): Map<string, Tensor> {
    return new Map([["scale", this.scale], ["good_steps", this.#goodSteps]]);
  }

  /** Takes up a saved state. Throws an `Error` for missing or foreign names and other shapes. */
  restore(stored: ReadonlyMap<string, StoredTensor>): void {
    restoreTensors("LossScaler", this.state(), stored);
  }

  /** Frees its memory. */
  [Symbol.dispose](): void {
    this.scale.dispose();
    this.#goodSteps.dispose();
  }
}
