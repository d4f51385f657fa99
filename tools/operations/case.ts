/**
 * What a row of the operation table is, and the inputs that its call gets.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { arrayOf, type DType, isFloat } from "../../src/device/dtype.ts";
import { tensor } from "../../src/tensor/create.ts";
import { type Shape, sizeOf } from "../../src/tensor/shape.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

/** One small call of an operation. */
export interface OperationCase {
  /** The exported function. */
  // deno-lint-ignore no-explicit-any -- operations of any arguments
  readonly op: (...args: any[]) => unknown;
  /** How it is called, as the table shows it. */
  readonly call: string;
  /** Calls it; of several results the first is the one that a gradient is asked of. */
  run(inputs: Inputs): Tensor | readonly Tensor[];
}

/** The tensors that a call is made of, all on one device, `x` and its like of the dtype in question. */
export class Inputs {
  /** Tensors that a gradient is asked for. */
  readonly leaves: Tensor[] = [];

  constructor(readonly device: Device, readonly dtype: DType) {}

  /** Small positive numbers, none twice among eight neighbours; fractions where the dtype has them. */
  values(shape: Shape, seed = 0): Tensor {
    const scale = isFloat(this.dtype) ? 0.25 : 1;
    const numbers = Array.from(
      { length: sizeOf(shape) },
      (_, i) => ((i * 5 + seed * 3) % 8 + 1) * scale,
    );
    const leaf = tensor(arrayOf(this.dtype, numbers), { shape, device: this.device });
    if (isFloat(this.dtype)) {
      leaf.requiresGrad = true;
      this.leaves.push(leaf);
    }
    return leaf;
  }

  /** [2, 4] */
  get x(): Tensor {
    return this.values([2, 4]);
  }

  /** [2, 4], other numbers than `x`. */
  get y(): Tensor {
    return this.values([2, 4], 1);
  }

  /** [4] */
  get row(): Tensor {
    return this.values([4], 2);
  }

  /** Ids of `i32`. */
  ids(numbers: readonly number[], shape: Shape = [numbers.length]): Tensor {
    return tensor(Int32Array.from(numbers), { shape, device: this.device });
  }

  /** Zeros and ones of `u32`. */
  mask(numbers: readonly number[], shape: Shape = [numbers.length]): Tensor {
    return tensor(Uint32Array.from(numbers), { shape, device: this.device });
  }
}
