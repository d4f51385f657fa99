/**
 * Modules: objects that hold parameters.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { isFloat } from "../device/dtype.ts";
import { SafetensorsFile, writeSafetensors } from "../io/safetensors.ts";
import { formatShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { assignFloats, checkStateDict, type StateDict, tensorEntries } from "./state_dict.ts";

const parameters = new WeakSet<Tensor>();

/**
 * Makes a tensor a parameter: a field of a {@linkcode Module} that holds it is trained, saved and loaded. The tensor
 * then requires a gradient, unless it is quantised, and outlives the current scope. Returns the tensor.
 */
export function parameter(tensor: Tensor): Tensor {
  parameters.add(tensor.keep());
  tensor.requiresGrad = isFloat(tensor.dtype);
  return tensor;
}

/**
 * The base class of layers and models. The parameters and modules in its public fields belong to it, also those in
 * arrays and plain objects (not in a `Map`, nor in `#private` fields), in the order of the fields. A parameter's name
 * is the path of fields to it (`h.0.attn.c_attn.weight`), so names in code and in files are the same. A parameter that
 * two fields hold counts once, under its first name. Other tensors in fields are constants: they are disposed of with
 * the module, but not saved.
 *
 * @example A model of one's own
 * ```ts
 * import { CpuDevice, Linear, Module, relu, type Tensor, zeros } from "@dinograd/dinograd";
 * import assert from "node:assert/strict";
 *
 * using device = CpuDevice.open({ threads: 1 });
 *
 * class MLP extends Module {
 *   readonly up = new Linear(2, 64, { device });
 *   readonly down = new Linear(64, 1, { device });
 *
 *   forward(x: Tensor): Tensor { // (B, 2) to (B, 1)
 *     return this.down.forward(relu(this.up.forward(x)));
 *   }
 * }
 *
 * using model = new MLP();
 * assert.deepEqual([...model.parameters().keys()], ["up.weight", "up.bias", "down.weight", "down.bias"]);
 * assert.equal(model.parameterCount(), 2 * 64 + 64 + 64 + 1);
 * assert.deepEqual(model.forward(zeros([5, 2], { device })).shape, [5, 1]);
 * ```
 */
export abstract class Module implements Disposable {
  /** Returns the parameters by name. Each tensor without a `name` gets this one, for messages. */
  parameters(): StateDict {
    const found = new Map<string, Tensor>();
    const seen = new Set<Tensor>();
    for (const [name, tensor] of tensorsOf(this)) {
      if (!parameters.has(tensor) || seen.has(tensor)) continue;
      seen.add(tensor);
      found.set(name, tensor);
      tensor.name ||= name;
    }
    return found;
  }

  /** Returns the number of elements of all parameters; tied ones count once. */
  parameterCount(): number {
    return this.parameters().values().reduce((count, { size }) => count + size, 0);
  }

  /** Returns this module, under the name "", and all modules in it, by the path of fields to them. */
  modules(): ReadonlyMap<string, Module> {
    return new Map(modulesOf(this));
  }

  /** The device of the first parameter. Throws an `Error` if there are no parameters. */
  get device(): Device {
    for (const [, tensor] of tensorsOf(this)) if (parameters.has(tensor)) return tensor.device;
    throw new Error(`${this.constructor.name}: expected a parameter but got none`);
  }

  /** The same as {@linkcode Module.parameters}: the tensors themselves, not copies. */
  stateDict(): StateDict {
    return this.parameters();
  }

  /**
   * Copies values into the parameters from float tensors on any device. Throws a `TypeError` that lists missing names,
   * unknown names and mismatched shapes; in that case nothing has changed.
   */
  async loadStateDict(values: StateDict): Promise<void> {
    const own = this.parameters();
    checkStateDict(own, values, "loadStateDict");
    for (const [name, tensor] of own) assignFloats(tensor, await values.get(name)!.data());
  }

  /**
   * Writes the parameters to a safetensors file, with one tensor in memory at a time. The file appears complete or not
   * at all. Needs `--allow-write` (and `--allow-read`).
   */
  async saveWeights(path: string | URL): Promise<void> {
    await writeSafetensors(path, tensorEntries(this.parameters()));
  }

  /**
   * Reads the parameters from a safetensors file (F32, F16 or BF16, converted to the parameters' dtype), with one
   * tensor in memory at a time. Needs `--allow-read`.
   *
   * @throws {TypeError} that lists what is missing, unknown or of another shape, and then nothing has changed
   * @throws {FileFormatError} for a file that is not complete
   */
  async loadWeights(path: string | URL): Promise<void> {
    using file = await SafetensorsFile.open(path);
    const own = this.parameters();
    checkStateDict(own, file.tensors, String(path));
    for (const [name, tensor] of own) assignFloats(tensor, await file.readFloat32(name));
  }

  /** Freezes the parameters: no gradients are computed for them. Returns the module. */
  freeze(): this {
    for (const tensor of this.parameters().values()) tensor.requiresGrad = false;
    return this;
  }

  /** Makes the parameters trainable again, except quantised ones. Returns the module. */
  unfreeze(): this {
    for (const tensor of this.parameters().values()) tensor.requiresGrad = isFloat(tensor.dtype);
    return this;
  }

  /** Frees the memory of all its tensors. */
  dispose(): void {
    for (const [, tensor] of tensorsOf(this)) tensor.dispose();
  }

  /** The same as {@linkcode Module.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What `console.log` shows: the modules in it, and the shapes of the parameters. */
  [Symbol.for("Deno.customInspect")](): string {
    const count = this.parameterCount().toLocaleString("en");
    return [`${this.constructor.name} of ${count} parameters`, ...structureOf(this)].join("\n  ");
  }
}

/** A line for the parameters in the fields of a module, and lines for each module in them. */
function structureOf(module: Module): string[] {
  const fields = [...fieldsOf(module, "")];
  const own = fields.flatMap(([name, value]) =>
    value instanceof Tensor && parameters.has(value)
      ? [`${name} ${formatShape(value.shape)} ${value.dtype}`]
      : []
  );
  const inner = fields.flatMap(([name, value]) => {
    if (!(value instanceof Module)) return [];
    const lines = structureOf(value);
    const isFlat = lines.length === 1 && !lines[0]!.includes(":");
    return [
      `${name}: ${value.constructor.name}${isFlat ? ` of ${lines[0]}` : ""}`,
      ...isFlat ? [] : lines.map((line) => `  ${line}`),
    ];
  });
  return [...own.length ? [own.join(", ")] : [], ...inner];
}

/**
 * Replaces parameters by other tensors, under all names they have, and disposes of the old ones. `replace` is called
 * with the first name; it returns undefined to leave a parameter as it is.
 */
export async function replaceParameters(
  module: Module,
  replace: (parameter: Tensor, name: string) => Promise<Tensor | undefined>,
): Promise<void> {
  const replaced = new Map<Tensor, Tensor>();
  for (const [name, old] of module.parameters()) {
    const made = await replace(old, name);
    if (!made) continue;
    replaced.set(old, parameter(made));
    // One of another type is for inference.
    if (made.dtype !== old.dtype) made.requiresGrad = false;
  }
  const replaceIn = (owner: object) => {
    for (const [field, value] of Object.entries(owner)) {
      const made = replaced.get(value);
      if (made) (owner as Record<string, Tensor>)[field] = made;
      else if (isContainer(value)) replaceIn(value);
    }
  };
  module.modules().forEach(replaceIn);
  for (const [old, made] of replaced) {
    made.name = old.name;
    old.dispose();
  }
}

/** A module and the modules in its fields, depth first. */
function* modulesOf(module: Module, path = ""): Generator<[string, Module]> {
  yield [path, module];
  for (const [name, value] of fieldsOf(module, path)) {
    if (value instanceof Module) yield* modulesOf(value, name);
  }
}

/** The tensors in the fields of a module and of the modules in it, in the order of the fields. */
function* tensorsOf(module: Module, path = ""): Generator<[string, Tensor]> {
  for (const [name, value] of fieldsOf(module, path)) {
    if (value instanceof Tensor) yield [name, value];
    else if (value instanceof Module) yield* tensorsOf(value, name);
  }
}

/** The public fields by path, including the entries of arrays and plain objects. */
function* fieldsOf(owner: object, path: string): Generator<[string, unknown]> {
  const prefix = path && `${path}.`;
  for (const [name, value] of Object.entries(owner)) {
    if (isContainer(value)) yield* fieldsOf(value, prefix + name);
    else yield [prefix + name, value];
  }
}

function isContainer(value: unknown): value is object {
  return Array.isArray(value) ||
    typeof value === "object" && value !== null &&
      Object.getPrototypeOf(value) === Object.prototype;
}
