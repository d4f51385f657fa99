/**
 * The gradient tape. Every operation with a gradient records a node that knows the tensors it was computed
 * from and how to push a gradient back to them; {@linkcode Tensor.backward} visits the nodes in reverse
 * order. A node keeps what its gradient needs and lets go of it as soon as it was used.
 *
 * @module
 */
import { axpy } from "../../kernels/axpy.ts";
import { constant } from "./create.ts";
import { currentScope, Scope } from "./scope.ts";
import { formatShape, sameShape } from "./shape.ts";
import type { GradNode, Tensor } from "./tensor.ts";

/**
 * The gradient of an operation: from the gradient of its output and the tensors it saved to the gradients of
 * its inputs, in their order; `null` where an input has none or `wanted` says that nobody asks for it.
 */
export type Backward = (
  outputGrad: Tensor,
  saved: readonly Tensor[],
  wanted: readonly boolean[],
) => readonly (Tensor | null)[];

let enabled = true;
let clock = 0;

/** Runs `body` without recording gradients, as for validation and decoding. */
export function noGrad<R>(body: () => R): R {
  return recording(false, "noGrad", body);
}

/** Runs `body` with gradients recorded, inside {@linkcode noGrad} and in the backward pass, too. */
export function enableGrad<R>(body: () => R): R {
  return recording(true, "enableGrad", body);
}

function recording<R>(wanted: boolean, name: string, body: () => R): R {
  const before = enabled;
  enabled = wanted;
  try {
    const result = body();
    if (result instanceof Promise) {
      throw new TypeError(`${name}: the body must not be asynchronous`);
    }
    return result;
  } finally {
    enabled = before;
  }
}

/** True when an operation on these inputs must save what its gradient needs. */
export function needsGrad(inputs: readonly Tensor[]): boolean {
  return enabled && inputs.some((input) => input.requiresGrad);
}

/**
 * Records that `output` was computed from `inputs` by the operation `name`, unless nobody wants a gradient.
 * `saved` are kept alive until `backward` ran. Returns `output`.
 */
export function record(
  name: string,
  inputs: readonly Tensor[],
  output: Tensor,
  saved: readonly Tensor[],
  backward: Backward,
): Tensor {
  if (needsGrad(inputs)) output.node = new Node(name, inputs, saved, backward);
  return output;
}

class Node implements GradNode {
  readonly order = clock++;
  /** Holders: the output tensor, and every node computed from it. */
  holders = 1;
  grad: Tensor | null = null;
  /** Where the gradients go: the node that made an input, or the input itself where it is a leaf. */
  #targets: (Node | Tensor | null)[];
  #saved: Tensor[];
  #backward: Backward | null;

  constructor(
    readonly name: string,
    inputs: readonly Tensor[],
    saved: readonly Tensor[],
    backward: Backward,
  ) {
    this.#targets = inputs.map((input) =>
      input.node ? hold(input.node as Node) : input.requiresGrad ? input : null
    );
    this.#saved = saved.map((tensor) => tensor.alias().keep());
    this.#backward = backward;
  }

  release(): void {
    if (--this.holders === 0) this.#drop();
  }

  backward(output: Tensor, seed: Tensor | number): void {
    if (typeof seed === "number" && output.size !== 1) {
      throw new TypeError(
        `backward: a tensor of shape ${formatShape(output.shape)} needs a gradient of that shape`,
      );
    }
    if (typeof seed !== "number" && !sameShape(seed.shape, output.shape)) {
      throw new TypeError(
        `backward: expected a gradient of shape ${formatShape(output.shape)} but got ` +
          formatShape(seed.shape),
      );
    }
    noGrad(() => {
      this.grad = typeof seed === "number"
        ? constant(output.device, output.shape, seed, output.dtype).keep()
        : seed.alias().keep();
      // Nodes that have a gradient to pass on; they are held until they have done so.
      const reached = new Set<Node>([hold(this)]);
      while (reached.size) {
        let last: Node | undefined;
        for (const node of reached) if (!last || node.order > last.order) last = node;
        reached.delete(last!);
        using _scope = new Scope();
        last!.#push(reached);
        last!.release();
      }
    });
  }

  /** Hands the gradient on to the inputs, notes the nodes reached, and frees what it kept. */
  #push(reached: Set<Node>): void {
    if (!this.#backward) {
      throw new Error(
        `backward: the gradients of ${this.name} were already taken, and what they need is freed`,
      );
    }
    const wanted = this.#targets.map((target) => target !== null);
    const grads = this.#backward(this.grad!, this.#saved, wanted);
    this.#targets.forEach((target, i) => {
      const grad = grads[i];
      if (!target) return;
      if (!grad) {
        throw new Error(`The gradient of ${this.name} with respect to input ${i} does not exist`);
      }
      target.grad = accumulate(target.grad, grad);
      if (target instanceof Node && !reached.has(target)) reached.add(hold(target));
    });
    this.grad!.dispose();
    this.grad = null;
    this.#drop();
  }

  #drop(): void {
    const targets = this.#targets;
    this.#saved.forEach((tensor) => tensor.dispose());
    this.#saved = [];
    this.#targets = [];
    this.#backward = null;
    this.grad?.dispose();
    this.grad = null;
    for (const target of targets) if (target instanceof Node) target.release();
  }
}

function hold(node: Node): Node {
  node.holders++;
  return node;
}

/** The sum of the gradients so far and a new one, kept outside the scope. */
function accumulate(sum: Tensor | null, grad: Tensor): Tensor {
  if (!sum) {
    // A tensor that this scope made is handed over; anything else (the output's own gradient, passed on)
    // is shared.
    return currentScope()!.owns(grad) ? grad.keep() : grad.alias().keep();
  }
  if (!sum.isOnlyUser) {
    const copy = constant(sum.device, sum.shape, 0, sum.dtype).keep();
    sum.device.launch(axpy, { x: sum, y: copy }, { count: sum.size, a: 1 });
    sum.dispose();
    sum = copy;
  }
  sum.device.launch(axpy, { x: grad, y: sum }, { count: sum.size, a: 1 });
  return sum;
}
