/**
 * Named parameters, the input of optimizers and clipping.
 *
 * @module
 */
import { isFloat } from "../device/dtype.ts";
import { formatShape, sameShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Parameters by name, as a model's `parameters()` gives them. */
export type NamedParameters = ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>;

/** Names and parameters, in order. */
export function entriesOf(parameters: NamedParameters): [string, Tensor][] {
  return parameters instanceof Map
    ? [...parameters as ReadonlyMap<string, Tensor>]
    : Object.entries(parameters);
}

/** Names and parameters, checked: floats, all on one device, each once. Throws a `TypeError` with the names. */
export function checkParameters(what: string, parameters: NamedParameters): [string, Tensor][] {
  const entries = entriesOf(parameters);
  const names = new Map<Tensor, string>();
  const [[firstName, first] = []] = entries;
  if (!first) throw new TypeError(`${what}: expected parameters but got none`);
  for (const [name, parameter] of entries) {
    if (!isFloat(parameter.dtype)) {
      throw new TypeError(`${what}: expected f32 or f16 for "${name}" but got ${parameter.dtype}`);
    }
    if (parameter.device !== first.device) {
      throw new TypeError(
        `${what}: expected all parameters on the device of "${firstName}", ${first.device.description}, ` +
          `but got "${name}" on ${parameter.device.description}`,
      );
    }
    const other = names.get(parameter);
    if (other !== undefined) {
      throw new TypeError(
        `${what}: expected each tensor once but got the same one as "${other}" and "${name}"`,
      );
    }
    names.set(parameter, name);
  }
  return entries;
}

/** The gradient of a parameter, checked; `null` where it has none. Throws a `TypeError` with the name. */
export function gradOf(what: string, name: string, parameter: Tensor): Tensor | null {
  const { grad } = parameter;
  if (grad && !sameShape(grad.shape, parameter.shape)) {
    throw new TypeError(
      `${what}: expected a gradient of "${name}" of shape ${
        formatShape(parameter.shape)
      } but got ` +
        formatShape(grad.shape),
    );
  }
  if (grad && !isFloat(grad.dtype)) {
    throw new TypeError(
      `${what}: expected f32 or f16 for the gradient of "${name}" but got ${grad.dtype}`,
    );
  }
  return grad;
}

/** Frees the gradients of the parameters, so that the next backward pass starts from zero. */
export function zeroGrad(parameters: NamedParameters): void {
  for (const [, parameter] of entriesOf(parameters)) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
}
