/**
 * The contenders by name.
 */
import type { ContenderOptions } from "./contender.ts";

/** Where software Vulkan drivers want a folder for sockets that a bare machine has not. */
const VULKAN = { XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? "/tmp" };

/** The CPU device with no permission at all, so with its WASM kernels only. */
export const CPU: ContenderOptions = {
  name: "dinograd",
  program: "dinograd.ts",
  args: ["cpu"],
  permissions: [],
};

/** The CPU device with the machine's BLAS, where there is one. */
export const CPU_WITH_BLAS: ContenderOptions = {
  name: "dinograd with BLAS",
  program: "dinograd.ts",
  args: ["cpu"],
  permissions: ["--allow-ffi"],
};

/** The WebGPU device. */
export const WEBGPU: ContenderOptions = {
  name: "dinograd",
  program: "dinograd.ts",
  args: ["webgpu"],
  permissions: [],
  env: VULKAN,
};

/** jax-js on the CPU. */
export const JAX_WASM: ContenderOptions = { name: "jax-js", program: "jax.ts", args: ["wasm"] };

/** jax-js on the same adapter. */
export const JAX_WEBGPU: ContenderOptions = {
  name: "jax-js",
  program: "jax.ts",
  args: ["webgpu"],
  env: VULKAN,
};

/** TensorFlow.js on the same adapter. */
export const TENSORFLOW: ContenderOptions = {
  name: "TensorFlow.js",
  program: "tensorflow.ts",
  env: VULKAN,
};

/** TensorFlow.js on the CPU. */
export const TENSORFLOW_WASM: ContenderOptions = {
  name: "TensorFlow.js WASM",
  program: "tensorflow_wasm.ts",
};

/**
 * PyTorch on the CPU, with Debian's OpenBLAS for OpenMP where it is installed (`libopenblas0-openmp`): with the other one
 * its threads and PyTorch's fight for the cores.
 */
export const PYTORCH: ContenderOptions = {
  name: "PyTorch",
  program: "pytorch.py",
  env: {
    LD_LIBRARY_PATH: `/usr/lib/${Deno.build.arch}-linux-gnu/openblas-openmp`,
    OMP_WAIT_POLICY: "PASSIVE",
  },
};

/** onnxruntime-node, with as many threads as there are cores. */
export const ONNX: ContenderOptions = { name: "onnxruntime", program: "onnxruntime.ts" };
