/**
 * Multiplies on a CPU device of its own and checks the products, in a Worker or as a program: then with three such
 * Workers while the main thread opens and closes devices that multiply too.
 *
 * @module
 */
import { matmul } from "../../../kernels/gemm/matmul.ts";
import { matmulParams } from "../../../kernels/gemm/params.ts";
import { CpuDevice } from "../../../src/device/cpu/cpu_device.ts";

/** Opens a device, multiplies `products` times and returns the number of wrong elements. */
function multiply(threads: number, products: number, size: number): number {
  using device = CpuDevice.open({ threads });
  const matrix = (value: (row: number, column: number) => number) => {
    const buffer = device.createBuffer(4 * size * size);
    const data = Float32Array.from(
      { length: size * size },
      (_, i) => value(Math.floor(i / size), i % size),
    );
    device.write(buffer, data);
    return { buffer, dtype: "f32" as const, offset: 0, size: size * size };
  };
  // Powers of two along a shifted diagonal: every product is exact.
  const a = matrix((row, column) => column === (row + 1) % size ? 2 : 0);
  const b = matrix((row, column) => row * size + column);
  const c = matrix(() => NaN);
  let wrong = 0;
  for (let i = 0; i < products; i++) {
    device.launch(matmul, { a, b, c }, matmulParams({ m: size, n: size, k: size }));
    const bytes = device.readNow({ buffer: c.buffer, byteOffset: 0, byteLength: 4 * size * size });
    const found = new Float32Array(bytes.buffer);
    for (let at = 0; at < found.length; at++) {
      if (found[at] !== 2 * ((at + size) % found.length)) wrong++;
    }
  }
  return wrong;
}

if (!import.meta.url.endsWith("?worker")) {
  const workers = [1, 2, 3].map((threads) => {
    const worker = new Worker(`${import.meta.url}?worker`, { type: "module" });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(threads);
    return promise.finally(() => worker.terminate());
  });
  let wrong = 0;
  for (let i = 0; i < 20; i++) {
    wrong += multiply(1 + i % 2, 3, 160);
    await new Promise((resolve) => setTimeout(resolve));
  }
  const results = await Promise.all(workers);
  console.log([wrong, ...results].join());
} else {
  addEventListener("message", (event) => {
    let wrong = 0;
    for (let i = 0; i < 5; i++) wrong += multiply((event as MessageEvent).data, 40, 200);
    postMessage(wrong);
  });
}

declare function postMessage(message: unknown): void;
