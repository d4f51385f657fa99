/**
 * The gradient tape. Every operation with a gradient records a node that knows the tensors it was computed
 * from and how to push a gradient back to them; {@linkcode Tensor.backward} visits the nodes in reverse
 * order. A node keeps what its gradient needs and lets go of it as soon as it was used.
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

/** Where an operation may put the gradient of an input instead of making a tensor for it. */
export interface GradPlace {
  /** Takes the gradient; is returned in its place. */
  readonly y: Tensor;
  /** True where `y` holds a gradient that the new one is to be added to; else its values are undefined. */
  readonly accumulate: boolean;
}

/** Tensors that a backward pass needs, some of which may be left out. */
export type Saved = readonly (Tensor | undefined)[];

/**
 * The gradient of an operation: from the gradient of its output and the tensors it saved to the gradients of
 * its inputs, in their order; `null` where an input has none or `wanted` says that nobody asks for it. An operation that
 * can write or add to a given tensor does so with those of `places`, and returns them: that saves an addition.
 */
export type Backward<S extends Saved = Saved> = (
  outputGrad: Tensor,
  saved: S,
  wanted: readonly boolean[],
  places: readonly (GradPlace | undefined)[],
) => readonly (Tensor | null)[];

let clock = 0;

/**
 * Runs `body` without recording gradients, as for validation and decoding. Where `body` is asynchronous, this
 * holds until its promise settles, and for that task alone; see {@linkcode scoped} for browsers.
 */
export function noGrad<R>(body: () => R): R {
  return runInContext("noGrad", { ...taskContext(), recording: false }, body);
}

/** Runs `body` with gradients recorded, inside {@linkcode noGrad} and in the backward pass, too. */
export function enableGrad<R>(body: () => R): R {
  return runInContext("enableGrad", { ...taskContext(), recording: true }, body);
}

/** True when an operation on these inputs must save what its gradient needs. */
export function needsGrad(inputs: readonly Tensor[]): boolean {
  return inputs.some((input) => input.requiresGrad) && taskContext().recording;
}

/**
 * Records that `output` was computed from `inputs` by the operation `name`, unless no gradient is needed.
 * `saved` are kept alive until `backward` ran. Returns `output`.
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

/** An input that a gradient goes to: the node that made it, or the input itself where it is a leaf. */
interface Target {
  readonly at: Node | Tensor;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly device: Device;
}

class Node implements GradNode {
  readonly order = clock++;
  /** Holders: the output tensor, and every node computed from it. */
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
      // Nodes that have a gradient to pass on; they are held until they have done so.
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

  /** Hands the gradient on to the inputs, notes the nodes reached, and frees what it kept. */
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

  /** Where the gradient of an input may go: what it has already, or the place that an optimizer keeps for it. */
  #placeOf(target: Target | null, index: number): GradPlace | undefined {
    if (!target) return undefined;
    const { at } = target;
    // An input that is there twice gets two gradients.
    if (this.#targets.some((other, i) => i !== index && other?.at === at)) return undefined;
    if (at.grad) return at.grad.isOnlyUser ? { y: at.grad, accumulate: true } : undefined;
    const y = at instanceof Node ? null : at.gradPlace?.();
    return y ? { y, accumulate: false } : undefined;
  }

  /** Forgets the gradient that a failed backward pass brought here. */
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

/** Throws a `TypeError` unless `grad` has the shape, dtype and device of what it is the gradient of. */
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

/** The gradient of an input with a new one, kept outside the scope. */
function settle(sum: Tensor | null, grad: Tensor, place: GradPlace | undefined): Tensor {
  if (!place || (place.accumulate && grad !== place.y)) return accumulate(sum, grad);
  if (place.accumulate) return grad;
  if (grad !== place.y) copyInto(place.y, grad);
  return place.y.keep();
}

/** The sum of the gradients so far and a new one, kept outside the scope. */
function accumulate(sum: Tensor | null, grad: Tensor): Tensor {
  if (!sum) {
    // A tensor that this scope made is handed over; anything else (the output's own gradient, passed on)
    // is shared.
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
