/**
 * The AdamW update, which Muon also uses, for the parameters other than the matrices of blocks.
 *
 * @module
 */
import { adamw } from "../../kernels/optimizer/adamw.ts";
import type { Device } from "../device/device.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Method, Run, Update } from "./optimizer.ts";

/** AdamW's checked options, and its launch. */
export class AdamWUpdate {
  /** The decay rates of the moving averages of gradients and of their squares. */
  readonly betas: readonly [number, number];
  readonly #eps: number;

  /** Throws a `RangeError`, in the optimizer's name, for options out of range. */
  constructor(
    name: string,
    options?: {
      readonly betas?: readonly [number, number] | undefined;
      readonly eps?: number | undefined;
    },
  ) {
    const { betas = [0.9, 0.999], eps = 1e-8 } = options ?? {};
    if (!betas.every((beta) => beta >= 0 && beta < 1) || !(eps >= 0)) {
      throw new RangeError(
        `${name}: expected betas from 0 to below 1 and an eps of at least 0 but got ${betas} and ${eps}`,
      );
    }
    this.betas = betas;
    this.#eps = eps;
  }

  /** Vectors (biases, the weights of norms) do not decay unless a group says otherwise. */
  method({ shape }: Tensor, weightDecay: number): Method {
    return { averages: ["m", "v"], weightDecay: shape.length < 2 ? 0 : weightDecay };
  }

  /** Launches the update of a run. */
  launch(device: Device, run: Run, { gradScale, correction }: Update): void {
    const [beta1, beta2] = this.betas;
    const { bindings, count, lr, weightDecay } = run;
    device.launch(adamw, { ...bindings, gradScale, correction }, {
      ...{ count, lr, beta1, beta2, weightDecay },
      rest1: 1 - beta1,
      rest2: 1 - beta2,
      eps: this.#eps,
    });
  }
}
