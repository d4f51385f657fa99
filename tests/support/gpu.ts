/**
 * The implementation of WebGPU that the tests run on: the runtime's own, or Dawn with `DINOGRAD_GPU=dawn`
 * (`deno task test:dawn`).
 *
 * @module
 */
import { chooseGpu } from "../../src/device/webgpu/dawn.ts";

/** The object that adapters come from. */
export const testGpu: GPU = await chooseGpu() ?? navigator.gpu;

/** Whether that is Dawn. */
export const isDawn: boolean = testGpu !== navigator.gpu;
