// What llama.cpp makes of a GGUF file: llamacpp.mjs FOLDER_OF_PACKAGES REQUEST, where the request is JSON, and so is the answer.
//   { "model": path, "ids": [...], "length": n, "texts": [...] } -> { "ids": greedy continuation, "texts": [[ids], ...] }
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, request] = process.argv.slice(2);
const { model: modelPath, ids, length, texts } = JSON.parse(request);
const entry = join(folder, "node_modules/node-llama-cpp/dist/index.js");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const logLevel = LlamaLogLevel.error;
const llama = await getLlama({ gpu: false, build: "never", logLevel, maxThreads: 1 });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  ...{ contextSize: 256, threads: 1, flashAttention: false },
  ...{ experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" },
});
const found = [];
for await (
  const id of context.getSequence().evaluate(ids, { temperature: 0, yieldEogToken: true })
) {
  found.push(id);
  if (found.length === length) break;
}
console.log(JSON.stringify({ ids: found, texts: texts.map((text) => [...model.tokenize(text)]) }));
process.exit(0);
