/**
 * For authors of operations: custom kernels and their gradients.
 *
 * A kernel has one specification, in TypeScript, and several implementations. {@linkcode kernel} declares its bindings,
 * with their access and their shape in terms of parameters, and its parameters with their types. From that follow the
 * header of the WGSL program, the checks of a launch on both devices, and how a launch over the binding limit is split.
 * `Device.launch(kernel, bindings, params)` runs it; a tensor is a binding.
 *
 * A header is prepended to the WGSL: `struct Params`, an `alias` for the element type of each binding (`X` for `x`),
 * the bindings, `HAS_X` for each optional binding, and `VECTOR`, `WIDTH` and `F` for the bindings that `vec4` selects.
 * Names are in snake case there (`dOut` is `d_out`). Comments in the body act as a small template language:
 *
 * - `alias T = f32;` and `const TILE = 16u;` take the values of `T` and `TILE` in the program's `constants`; the value
 *   in the source is the default;
 * - the lines between `//#if NAME` and `//#end` are kept if the constant is true or nonzero, and those after an
 *   `//#else` if not;
 * - the lines between `//#repeat i 0..4` and `//#end` are repeated for each value, with `{i}` replaced by it;
 *   `//#repeat x of q k v` does the same for words.
 *
 * @example An operation with a gradient
 * ```ts
 * import { CpuDevice, mul, tensor, Tensor } from "@dinograd/dinograd";
 * import { kernel, record } from "@dinograd/dinograd/kernel";
 * import assert from "node:assert/strict";
 *
 * const cubes = kernel({
 *   name: "cube",
 *   bindings: { x: { read: "count" }, y: { write: "count" } },
 *   params: { count: "u32" },
 *   gpu: ({ count }) => ({
 *     workgroups: Math.ceil(count / 64),
 *     wgsl: `
 *       @compute @workgroup_size(64)
 *       fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
 *         let i = id.x + id.y * groups.x * 64; // over 65,535 workgroups lie in several rows
 *         if (i < params.count) { y[i] = x[i] * x[i] * x[i]; }
 *       }`,
 *   }),
 *   cpu({ x, y }, { count }) {
 *     for (let i = 0; i < count; i++) y[i] = x[i] ** 3;
 *   },
 * });
 *
 * function cube(x: Tensor): Tensor {
 *   const y = Tensor.empty(x.device, x.shape, x.dtype);
 *   x.device.launch(cubes, { x, y }, { count: x.size });
 *   return record("cube", [x], y, [x], (dY) => [mul(dY, mul(mul(x, x), 3))]);
 * }
 *
 * using device = CpuDevice.open({ threads: 1 });
 * using x = tensor([1, 2, 3], { device });
 * x.requiresGrad = true;
 * using y = cube(x);
 * y.backward(tensor([1, 1, 1], { device }));
 * assert.deepEqual(await y.toArray(), [1, 8, 27]);
 * assert.deepEqual(await x.grad!.toArray(), [3, 12, 27]);
 * ```
 *
 * @module
 */
export * from "./src/device/device.ts";
export type { DType, QuantisedType, TypedArray } from "./src/device/dtype.ts";
export * from "./src/device/kernel.ts";
export type { BindingSlot } from "./src/device/kernel_spec.ts";
export type { Bindings } from "./src/device/splitting.ts";
export { gradcheck, type GradcheckOptions } from "./src/tensor/gradcheck.ts";
export { type Backward, type GradPlace, needsGrad, record, type Saved } from "./src/tensor/tape.ts";
