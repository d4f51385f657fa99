/**
 * The gradient tape. Every differentiable operation records a node that knows the tensors it was computed from and how
 * to pass a gradient back to them. {@linkcode Tensor.backward} visits the nodes in reverse order. A node keeps what its
 * gradient needs and releases it right after use.
 *
 * @module
 */
import { axpy } from "../../kernels/elementwise/axpy.ts";
import type { Device } from "../device/device.ts";
import type { DType } from "../device/dtype.ts";
import { runInContext, runSynchronously, taskContext } from "./async_context.ts";
import { constant } from "./create.ts";
import { currentScope, Scope } from "./scope.ts";
import { formatShape, sameShape, type Shape } from "./shape.ts";
import { copyInto, type GradNode, Tensor } from "./tensor.ts";

/** A tensor that an operation may write the gradient of an input into, instead of making one. */
export interface GradPlace {
  /** The tensor to write to, which is then returned as the gradient. */
  readonly y: Tensor;
  /** Whether `y` holds a gradient that the new one must be added to; if not, its values are undefined. */
  readonly accumulate: boolean;
  /** With `accumulate`: may take rows that an operation would add; see {@linkcode Tensor.takeGradRows}. */
  readonly takeRows?: Tensor["takeGradRows"];
}

/** Tensors saved for the backward pass, some of them optional. */
export type Saved = readonly (Tensor | undefined)[];

/**
 * The backward function of an operation. It computes the gradients of the inputs, in order, from the gradient of the
 * output and the saved tensors; `null` if an input has none or `wanted` is false for it. An operation that can write
 * into, or add to, a given tensor does so with those of `places` and returns them, which saves an addition.
 */
export type Backward<S extends Saved = Saved> = (
  outputGrad: Tensor,
  saved: S,
  wanted: readonly boolean[],
  places: readonly (GradPlace | undefined)[],
) => readonly (Tensor | null)[];

let clock = 0;

/**
 * Runs `body` without recording gradients, for validation and decoding. If `body` is asynchronous, this applies until
 * its promise settles, and only to that task; see {@linkcode scoped} for browsers.
 */
export function noGrad<R>(body: () => R): R {
  return runInContext("noGrad", { ...taskContext(), recording: false }, body);
}

/** Runs `body` with gradients recorded, even inside {@linkcode noGrad} or a backward pass. */
export function enableGrad<R>(body: () => R): R {
  return runInContext("enableGrad", { ...taskContext(), recording: true }, body);
}

/** Whether an operation on these inputs must save what its gradient needs. */
export function needsGrad(inputs: readonly Tensor[]): boolean {
  return inputs.some((input) => input.requiresGrad) && taskContext().recording;
}

/**
 * Records that the operation `name` computed `output` from `inputs`, unless no gradient is needed. `saved` tensors are
 * kept until `backward` has run. Returns `output`.
 */
export function record<const S extends Saved>(
  name: string,
  inputs: readonly Tensor[],
  output: Tensor,
  saved: S,
  backward: Backward<S>,
): Tensor {
  if (needsGrad(inputs)) {
    output.node = new Node(name, inputs, saved, backward as unknown as Backward);
  }
  return output;
}

/** An input that receives a gradient: the node that made it, or the input itself if it is a leaf. */
interface Target {
  readonly at: Node | Tensor;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly device: Device;
}

class Node implements GradNode {
  readonly order = clock++;
  /** Reference count: the output tensor, and every node computed from it. */
  holders = 1;
  grad: Tensor | null = null;
  #targets: (Target | null)[];
  #saved: Saved;
  #backward: Backward | null;

  constructor(
    readonly name: string,
    inputs: readonly Tensor[],
    saved: Saved,
    backward: Backward,
  ) {
    this.#targets = inputs.map((input) => {
      if (!input.requiresGrad) return null;
      const { shape, dtype, device } = input;
      return { at: input.node ? hold(input.node as Node) : input, shape, dtype, device };
    });
    this.#saved = saved.map((tensor) => tensor?.alias().keep());
    this.#backward = backward;
  }

  release(): void {
    if (--this.holders === 0) this.#drop();
  }

  backward(output: Tensor, seed: Tensor | number): void {
    if (typeof seed !== "number") checkGrad("backward", "the output", output, seed);
    else if (output.size !== 1) {
      throw new TypeError(
        `backward: expected a gradient for an output of shape ${formatShape(output.shape)} but ` +
          `got none; only one of a single element starts from 1`,
      );
    }
    runSynchronously({ ...taskContext(), recording: false }, () => {
      this.grad = typeof seed === "number"
        ? constant(output.device, output.shape, seed, output.dtype).keep()
        : seed.alias().keep();
      // Nodes with a gradient to pass on, held until they have done so.
      const reached = new Set<Node>([hold(this)]);
      try {
        while (reached.size) {
          let last: Node | undefined;
          for (const node of reached) if (!last || node.order > last.order) last = node;
          using _scope = new Scope();
          last!.#push(reached);
          reached.delete(last!);
          last!.release();
        }
      } catch (error) {
        for (const node of reached) node.#abandon();
        throw error;
      }
    });
  }

  /** Passes the gradient on to the inputs, collects the nodes reached, and frees what it kept. */
  #push(reached: Set<Node>): void {
    if (!this.#backward) {
      throw new Error(
        `backward: expected a graph that was not gone through yet but got ${this.name} again; its tensors are freed`,
      );
    }
    const wanted = this.#targets.map((target) => target !== null);
    const places = this.#targets.map((target, i) => this.#placeOf(target, i));
    const grads = this.#backward(this.grad!, this.#saved, wanted, places);
    const operation = `backward of ${this.name}`;
    if (grads.length !== wanted.length) {
      throw new TypeError(
        `${operation}: expected ${wanted.length} gradients, one per input, but got ${grads.length}`,
      );
    }
    this.#targets.forEach((target, i) =>
      target && checkGrad(operation, `input ${i}`, target, grads[i]!)
    );
    this.#targets.forEach((target, i) => {
      if (!target) return;
      const { at } = target;
      at.grad = settle(at.grad, grads[i]!, places[i]);
      if (!(at instanceof Node)) at.gradHook?.();
      else if (!reached.has(at)) reached.add(hold(at));
    });
    this.grad!.dispose();
    this.grad = null;
    this.#drop();
  }

  /** Where the gradient of an input may go: an existing gradient, or the memory that an optimizer keeps for it. */
  #placeOf(target: Target | null, index: number): GradPlace | undefined {
    if (!target) return undefined;
    const { at } = target;
    // An input that occurs twice receives two gradients.
    if (this.#targets.some((other, i) => i !== index && other?.at === at)) return undefined;
    const takeRows = at instanceof Node ? null : at.takeGradRows;
    if (at.grad) return at.grad.isOnlyUser ? { y: at.grad, accumulate: true, takeRows } : undefined;
    const y = at instanceof Node ? null : at.gradPlace?.();
    return y ? { y, accumulate: false } : undefined;
  }

  /** Drops the gradient left here by a failed backward pass. */
  #abandon(): void {
    this.grad?.dispose();
    this.grad = null;
    this.release();
  }

  #drop(): void {
    const targets = this.#targets;
    this.#saved.forEach((tensor) => tensor?.dispose());
    this.#saved = [];
    this.#targets = [];
    this.#backward = null;
    this.grad?.dispose();
    this.grad = null;
    for (const target of targets) if (target?.at instanceof Node) target.at.release();
  }
}

/** Throws a `TypeError` unless `grad` has the shape, dtype and device that its input requires. */
function checkGrad(
  operation: string,
  of: string,
  { shape, dtype, device }: Omit<Target, "at">,
  grad: Tensor | null,
): void {
  if (
    grad && sameShape(grad.shape, shape) && grad.dtype === dtype && grad.device === device
  ) return;
  const elsewhere = grad && grad.device !== device ? ", on another device" : "";
  throw new TypeError(
    `${operation}: expected a gradient of shape ${
      formatShape(shape)
    } and ${dtype} for ${of} but got ` +
      (grad ? `${formatShape(grad.shape)} and ${grad.dtype}${elsewhere}` : "none"),
  );
}

function hold(node: Node): Node {
  node.holders++;
  return node;
}

/** The gradient of an input including a new one, kept outside the scope. */
function settle(sum: Tensor | null, grad: Tensor, place: GradPlace | undefined): Tensor {
  if (!place || (place.accumulate && grad !== place.y)) return accumulate(sum, grad);
  if (place.accumulate) return grad;
  if (grad !== place.y) copyInto(place.y, grad);
  return place.y.keep();
}

/** The sum of the gradients so far and a new one, kept outside the scope. */
function accumulate(sum: Tensor | null, grad: Tensor): Tensor {
  if (!sum) {
    // A tensor that this scope made is handed over. Any other, such as the output's own gradient passed on, is shared.
    return currentScope()!.owns(grad) ? grad.keep() : grad.alias().keep();
  }
  if (!sum.isOnlyUser) {
    const copy = Tensor.empty(sum.device, sum.shape, sum.dtype).keep();
    copyInto(copy, sum);
    sum.dispose();
    sum = copy;
  }
  sum.device.launch(axpy, { x: grad, y: sum }, { count: sum.size, a: 1 });
  return sum;
}
