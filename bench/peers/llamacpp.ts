/**
 * llama.cpp's side of `compare_llamacpp.ts`: `deno run llamacpp.ts FOLDER_OF_PACKAGES FOLDER_OF_MODELS`, driven by `contender.ts`.
 */
import { serve, type Work } from "./serve.ts";

/** The little of `node-llama-cpp` that is used here. */
interface Sequence {
  clearHistory(): Promise<void>;
  evaluate(ids: number[], options: { temperature: number }): AsyncIterable<number>;
}

const [packages, models] = Deno.args;
const { getLlama, LlamaLogLevel } = await import(
  new URL(`file://${packages}node_modules/node-llama-cpp/dist/index.js`).href
);
const threads = 2, logLevel = LlamaLogLevel.error;
const llama = await getLlama({ gpu: false, build: "never", logLevel, maxThreads: threads });
const types = ["f32", "f16", "q8_0", "q4_0"];

/** Reads `prompt` ids and decodes until there are `tokens` new ones. */
async function work(size: number, prompt: number, tokens: number): Promise<Work> {
  const model = await llama.loadModel({ modelPath: `${models}/${types[size]}.gguf` });
  const context = await model.createContext({ contextSize: 512, threads });
  const sequence: Sequence = context.getSequence();
  const ids = Array.from({ length: prompt }, (_, i) => 300 + i * 7);
  return {
    async run(repeats) {
      for (let i = 0; i < repeats; i++) {
        await sequence.clearHistory();
        let count = 0;
        for await (const _ of sequence.evaluate(ids, { temperature: 0 })) {
          if (++count === tokens) break;
        }
      }
    },
    async dispose() {
      await context.dispose();
      await model.dispose();
    },
  };
}

await serve("llama.cpp by node-llama-cpp", {
  decode: (size) => work(size, 16, 64),
  prefill: (size) => work(size, 256, 1),
});
