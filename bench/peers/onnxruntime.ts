/**
 * onnxruntime-node's matrix product: `deno run -A onnxruntime.ts [threads]`, driven by `contender.ts`.
 */
import ort from "npm:onnxruntime-node@1.30.0";
import { serve } from "./serve.ts";
import { randomMatrix } from "./workload.ts";

const threads = Number(Deno.args[0] ?? navigator.hardwareConcurrency);
const session = await ort.InferenceSession.create(matMulModel(), { intraOpNumThreads: threads });

await serve(`onnxruntime-node 1.30.0, ${threads} threads`, {
  matmul: (n) => {
    const [a, b] = [1, 2].map((seed) => new ort.Tensor("float32", randomMatrix(n, seed), [n, n]));
    return {
      async run(repeats) {
        for (let i = 0; i < repeats; i++) await session.run({ a, b });
      },
    };
  },
});

/** A model of one node, c = MatMul(a, b), in ONNX's protocol buffers (onnx.proto, IR version 8). */
function matMulModel(): Uint8Array {
  const varint = (value: number): number[] =>
    value < 128 ? [value] : [value & 127 | 128, ...varint(value >>> 7)];
  const field = (number: number, content: number | string | number[]): number[] => {
    if (typeof content === "number") return [number << 3, ...varint(content)];
    const bytes = typeof content === "string" ? [...new TextEncoder().encode(content)] : content;
    return [number << 3 | 2, ...varint(bytes.length), ...bytes];
  };
  const FLOAT = 1;
  const side = (name: string) => field(1, field(2, name)); // a dimension without a number
  const value = (name: string) => {
    const shape = [...side("rows"), ...side("columns")];
    return [...field(1, name), ...field(2, field(1, [...field(1, FLOAT), ...field(2, shape)]))];
  };
  const node = [...field(1, "a"), ...field(1, "b"), ...field(2, "c"), ...field(4, "MatMul")];
  const inputs = [...field(11, value("a")), ...field(11, value("b"))];
  const graph = [...field(1, node), ...field(2, "product"), ...inputs, ...field(12, value("c"))];
  return Uint8Array.from([...field(1, 8), ...field(7, graph), ...field(8, field(2, 17))]);
}
