/**
 * Sets every element to one value.
 *
 * @module
 */
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import wgsl from "./fill.wgsl" with { type: "text" };

/** Parameters of {@linkcode fill}. */
export type FillParams = {
  /** The number of elements. */
  count: number;
  /** The value, converted to the dtype of y. */
  value: number;
};

/** y (count) = value, for every dtype; integers up to 2^24 are exact. */
export const fill: Kernel<FillParams> = kernel<FillParams>({
  name: "fill",
  bindings: {
    y: { write: "count" },
  },
  params: { count: "u32", value: "f32" },
  gpu: ({ count }) => ({
    wgsl,
    workgroups: Math.ceil(count / 64),
  }),
  cpu({ y }, { count, value }) {
    y.fill(value, 0, count);
  },
  split: "count",
});
