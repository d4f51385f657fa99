/**
 * TensorFlow.js's matrix product on WebGPU: `deno run -A tensorflow.ts`, driven by `contender.ts`.
 */
import * as tf from "npm:@tensorflow/tfjs-core@4.22.0";
import "npm:@tensorflow/tfjs-backend-webgpu@4.22.0";
import { serve } from "./serve.ts";
import { randomMatrix } from "./workload.ts";

if (!await tf.setBackend("webgpu")) throw new Error("TensorFlow.js finds no WebGPU");
await tf.ready();

await serve(`TensorFlow.js ${tf.version_core}, WebGPU`, {
  matmul: (n) => {
    const [a, b] = [1, 2].map((seed) => tf.tensor2d(randomMatrix(n, seed), [n, n]));
    return {
      async run(repeats) {
        for (let i = 1; i < repeats; i++) tf.matMul(a, b).dispose();
        const product = tf.matMul(a, b);
        // Reading one element waits for the product without copying all of it.
        const corner = tf.slice(product, [0, 0], [1, 1]);
        await corner.data();
        corner.dispose();
        product.dispose();
      },
      dispose: () => tf.dispose([a, b]),
    };
  },
});
