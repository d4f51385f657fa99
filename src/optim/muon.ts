/**
 * Muon, with AdamW for all parameters other than the matrices of blocks.
 *
 * @module
 */
import { muonMomentum, muonUpdate, newtonSchulz } from "../../kernels/optimizer/muon.ts";
import { rmsNorm } from "../../kernels/rows/norm.ts";
import type { Binding, Device } from "../device/device.ts";
import { BYTES } from "../device/dtype.ts";
import { part } from "../ops/launch.ts";
import { launchMatmul } from "../ops/matmul.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { AdamWOptions } from "./adamw.ts";
import { AdamWUpdate } from "./adamw_update.ts";
import { Optimizer, type OptimizerOptions, type Run, type Update } from "./optimizer.ts";
import type { NamedParameters } from "./parameters.ts";

/** Options of {@linkcode Muon}. */
export interface MuonOptions extends OptimizerOptions {
  /** The default learning rate of the matrices, which is the spectral norm of an update. Default: 0.02. */
  readonly lr?: number;
  /** The weight decay of the matrices; a step multiplies it by the learning rate. Default: 0. */
  readonly weightDecay?: number;
  /** The decay rate of the moving average of gradients. Default: 0.95. */
  readonly momentum?: number;
  /** Whether to use Nesterov momentum. Default: true. */
  readonly nesterov?: boolean;
  /** The number of Newton-Schulz iterations. Default: 5. */
  readonly iterations?: number;
  /**
   * Selects the parameters with two axes that Muon updates. Default: those of blocks, which have a number in their
   * names, such as `h.0.mlp.c_fc.weight`, so neither embeddings nor the output matrix.
   */
  readonly select?: (name: string, parameter: Tensor) => boolean;
  /** The options of AdamW, for all other parameters. */
  readonly adamW?: MuonAdamWOptions;
}

/** Options for the parameters that {@linkcode Muon} leaves to AdamW. */
export interface MuonAdamWOptions extends Pick<AdamWOptions, "betas" | "eps" | "weightDecay"> {
  /** The factor for the learning rate of these parameters. Default: 0.15. */
  readonly lrScale?: number;
}

/**
 * Coefficients of X, X X^T X and (X X^T)^2 X (Jordan et al. 2024): they map singular values in [0.01, 1] to [0.68,
 * 1.21].
 */
const QUINTIC = { a: 3.4445, b: -4.775, c: 2.0315 };

/** Maximum bytes of matrices that are orthogonalized at a time. At most four times as much is allocated for it. */
const MATRIX_BYTES = 64 * 2 ** 20;

/**
 * The Muon optimizer for the matrices of a model's blocks, with AdamW for all else (embeddings, output matrix,
 * vectors), in one optimizer with one state. (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
 * networks", https://kellerjordan.github.io/posts/muon/.)
 *
 * A step of a matrix W (rows, columns) with gradient G, in f32 whatever the dtype of the parameters:
 *
 *     M = momentum M + (1 - momentum) G
 *     X = momentum M + (1 - momentum) G, or without nesterov M; divided by its Frobenius norm
 *     five times:  A = X X^T,  X = 3.4445 X - 4.7750 A X + 2.0315 A A X
 *     W = W - lr weightDecay W - lr sqrt(max(1, rows / columns)) X
 *
 * X keeps the singular vectors of M while its singular values approach 1, so all directions of a matrix learn at the
 * same pace. The iterations run as products of all matrices of one shape at once. Gradient clipping, skipped steps and
 * loss scaling work as with `AdamW`. A matrix has one moving average (`momentum.<name>` in the state) where AdamW has
 * two.
 *
 * @example A step moves a matrix by an orthogonal one, times the learning rate
 * ```ts
 * import { CpuDevice, Muon, tensor, zeros } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 * const weight = zeros([2, 2], { device });
 * weight.grad = tensor([[100, 0], [0, 0.1]], { device });
 * using optimizer = new Muon({ "h.0.weight": weight }, { lr: 0.1 });
 * optimizer.step();
 * const [[a, b], [, d]] = await weight.toArray() as number[][];
 * assert(Math.abs(a! + 0.1) < 0.035 && b === 0 && d! < 0);
 * ```
 */
export class Muon extends Optimizer {
  readonly #adamW: AdamWUpdate;
  readonly #momentum: number;
  readonly #nesterov: boolean;
  readonly #iterations: number;

  /**
   * Throws a `RangeError` for options out of range, and a `TypeError` for parameters that cannot be trained or for
   * selected ones that are not matrices.
   */
  constructor(parameters: NamedParameters, options?: MuonOptions) {
    const { lr = 0.02, weightDecay = 0, momentum = 0.95, nesterov = true, iterations = 5 } =
      options ?? {};
    const { select = isOfBlock, groups = [], adamW: { lrScale = 0.15, ...others } = {} } =
      options ?? {};
    const adamW = new AdamWUpdate("Muon", others);
    if (!(momentum >= 0 && momentum < 1) || !(Number.isInteger(iterations) && iterations >= 1)) {
      throw new RangeError(
        `Muon: expected a momentum from 0 to below 1 and iterations of 1 or more but got ${momentum} and ${iterations}`,
      );
    }
    if (!(lrScale >= 0 && lrScale < Infinity)) {
      throw new RangeError(`Muon: expected an adamW.lrScale of at least 0 but got ${lrScale}`);
    }
    const methodOf = (name: string, parameter: Tensor) =>
      select(name, parameter)
        ? { averages: ["momentum"], weightDecay, matrix: matrixOf(name, parameter) }
        : { ...adamW.method(parameter, others.weightDecay ?? 0.01), lrScale };
    super("Muon", parameters, methodOf, { lr, groups, betas: adamW.betas });
    this.#adamW = adamW;
    this.#momentum = momentum;
    this.#nesterov = nesterov;
    this.#iterations = iterations;
  }

  /** Launches the update. */
  protected override update(run: Run, update: Update): void {
    const { bindings, count, matrix } = run;
    if (!matrix) return this.#adamW.launch(this.device, run, update);
    const size = matrix[0] * matrix[1];
    const most = Math.max(1, Math.floor(MATRIX_BYTES / (BYTES.f32 * size))) * size;
    for (let first = 0; first < count; first += most) {
      const some = Math.min(most, count - first);
      const cut = Object.entries(bindings)
        .map(([name, all]) => [name, all && part(all, first, some)] as const);
      this.#updateMatrices({ ...run, bindings: Object.fromEntries(cut), count: some }, update);
    }
  }

  #updateMatrices(run: Run, { gradScale }: Update): void {
    const { bindings: { p, g, momentum, copy }, count, lr, weightDecay, matrix } = run;
    const [rows, columns] = matrix!;
    const { device } = this;
    const beta = this.#momentum;
    const x = Tensor.empty(device, [count / (rows * columns), rows, columns]);
    device.launch(muonMomentum, { g, momentum, gradScale, x }, {
      ...{ count, beta, rest: 1 - beta },
      nesterov: Number(this.#nesterov),
    });
    const orthogonal = orthogonalized(device, x, this.#iterations);
    device.launch(muonUpdate, { p, x: orthogonal, gradScale, copy }, {
      count,
      step: lr * Math.sqrt(Math.max(1, rows / columns)),
      decay: lr * weightDecay,
    });
    orthogonal.dispose();
  }
}

function isOfBlock(name: string, { shape }: Tensor): boolean {
  return shape.length === 2 && name.split(".").some((part) => /^\d+$/.test(part));
}

function matrixOf(name: string, { shape }: Tensor): readonly [rows: number, columns: number] {
  const [rows, columns] = shape;
  if (shape.length === 2 && rows! > 0 && columns! > 0) return [rows!, columns!];
  throw new TypeError(`Muon: expected a matrix for "${name}" but got [${shape.join(", ")}]`);
}

/**
 * Brings the singular values of the matrices x (n, rows, columns) close to 1 by Newton-Schulz iterations. Returns a new
 * tensor and disposes of x. The Gram matrices are those of the shorter side.
 */
function orthogonalized(device: Device, x: Tensor, iterations: number): Tensor {
  const [n, rows, columns] = x.shape as [number, number, number];
  const size = Math.min(rows, columns);
  const isWide = rows <= columns;
  const products = (operands: { a: Binding; b: Binding; c: Binding }, sizes: Sizes) =>
    launchMatmul(operands, { ...sizes, batches: n });
  const spare = Tensor.empty(device, x.shape);
  const gram = Tensor.empty(device, [n, size, size]);
  const square = Tensor.empty(device, [n, size, size]);
  // Scales to a mean square of 1. The rest of the way to a Frobenius norm of 1 is in the factors of the first products.
  const count = rows * columns;
  device.launch(rmsNorm, { x, y: spare }, {
    rows: n,
    columns: count,
    eps: 1e-14 / count,
    offset: 0,
  });
  let [from, to] = [spare, x];
  for (let i = 0; i < iterations; i++) {
    const norm = i === 0 ? Math.sqrt(count) : 1;
    const ofGram = { m: size, n: size, alpha: 1 / norm ** 2 };
    products(
      { a: from, b: from, c: gram },
      isWide ? { ...ofGram, k: columns, transposeB: 1 } : { ...ofGram, k: rows, transposeA: 1 },
    );
    products({ a: gram, b: gram, c: square }, { m: size, n: size, k: size });
    device.launch(newtonSchulz, { gram, square }, { matrices: n, size, ...QUINTIC });
    products(
      isWide ? { a: square, b: from, c: to } : { a: from, b: square, c: to },
      { m: rows, n: columns, k: size, alpha: 1 / norm },
    );
    [from, to] = [to, from];
  }
  [gram, square, to].forEach((tensor) => tensor.dispose());
  return from;
}

/** The sizes and factors of a product. */
type Sizes = Omit<Parameters<typeof launchMatmul>[1], "batches">;
