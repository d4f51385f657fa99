/**
 * dinograd's side of `compare_llamacpp.ts`, and what both sides do. `deno run llama_134m.ts FOLDER`, driven by `contender.ts`;
 * without `--allow-ffi` the CPU device has only its WASM kernels.
 */
import { CpuDevice, type LLaMA, type LLaMAConfig, loadModel, Scope, tensor } from "../../mod.ts";
import { serve, type Work } from "./serve.ts";

/** The types of matrices, by which files are named. */
export const GGUF_TYPES = ["f32", "f16", "q8_0", "q4_0"] as const;

/** What is timed. */
export type GgufWork = "decode" | "prefill";

/** The model. */
export const LLAMA_134M: LLaMAConfig = {
  vocabSize: 32_000,
  maxPositionEmbeddings: 1024,
  hiddenSize: 768,
  intermediateSize: 2048,
  numHiddenLayers: 12,
  numAttentionHeads: 12,
};
/** Tokens before those that are decoded. */
const PROMPT = 16;
/** Tokens that are decoded. */
export const TOKENS = 64;
/** Tokens that are read at once. */
export const PREFILL = 256;
/** Threads of every contender. */
export const THREADS = 2;

/** So many ids. */
export function someIds(count: number): number[] {
  return Array.from({ length: count }, (_, i) => 300 + i * 7);
}

if (import.meta.main) {
  const device = CpuDevice.open({ threads: THREADS });
  const row = (ids: number[]) => tensor([ids], { device, dtype: "i32" });
  const loaded = (size: number): Promise<LLaMA> =>
    loadModel(`${Deno.args[0]}/${GGUF_TYPES[size]}.gguf`, {
      ...{ device, kinds: ["llama"], matrices: "stored" },
    });
  await serve(`dinograd, ${device.description}`, {
    async decode(size: number): Promise<Work> {
      const model = await loaded(size);
      return {
        async run(repeats) {
          for (let i = 0; i < repeats; i++) {
            using cache = model.createCache(1);
            let ids = someIds(PROMPT);
            // As the other side's, the time is that of the tokens after the prompt and of its last one.
            for (let token = 0; token < TOKENS; token++) {
              using _scope = new Scope();
              const scores = await model.nextLogits(row(ids), { cache }).data();
              let best = 0;
              scores.forEach((score, id) => score > scores[best]! && (best = id));
              ids = [best];
            }
          }
        },
        dispose: () => model.dispose(),
      };
    },
    async prefill(size: number): Promise<Work> {
      const model = await loaded(size);
      return {
        async run(repeats) {
          for (let i = 0; i < repeats; i++) {
            using _scope = new Scope();
            using cache = model.createCache(1);
            await model.nextLogits(row(someIds(PREFILL)), { cache }).data();
          }
        },
        dispose: () => model.dispose(),
      };
    },
  });
}
