/**
 * TensorFlow.js's WASM backend, decoding greedily with a key-value cache: `deno run -A tensorflow_wasm.ts`,
 * driven by `contender.ts`. It takes one thread under Deno, whatever it is told.
 */
import * as tf from "npm:@tensorflow/tfjs-core@4.22.0";
import { setWasmPaths } from "npm:@tensorflow/tfjs-backend-wasm@4.22.0";
import { serve, type Work } from "./serve.ts";
import { DECODE, GPT, initialParameters, prompts } from "./workload.ts";

const { context, embed, heads, layers, vocab } = GPT;

setWasmPaths(
  new URL("./", import.meta.resolve("npm:@tensorflow/tfjs-backend-wasm@4.22.0/dist/index.js"))
    .pathname,
);
if (!await tf.setBackend("wasm")) throw new Error("TensorFlow.js's WASM backend does not start");
await tf.ready();

const weights = new Map(
  [...initialParameters()].map(([name, { shape, data }]) => [name, tf.tensor(data, [...shape])]),
);
/** Turned once: the backend multiplies by a transposed matrix much slower. */
const output = tf.tidy(() => tf.transpose(weights.get("tok")!));

type Cache = { k: tf.Tensor; v: tf.Tensor }[];

await serve(`TensorFlow.js ${tf.version_core}, WASM`, { decode });

function decode(batch: number): Work {
  const prompt = prompts(batch).flatMap((row) => [...row]);
  let ids: number[] = [];
  let ends: number[] = [];
  const sequence = async (): Promise<void> => {
    const cache: Cache = [];
    [ids, ends] = [[], []];
    let input = prompt;
    for (let position = 0; position < DECODE.until - 1;) {
      const time = input.length / batch;
      const next = tf.tidy(() => {
        const scores = forward(tf.tensor2d(input, [batch, time], "int32"), cache, position);
        return tf.argMax(
          tf.reshape(tf.slice(scores, [0, time - 1], [batch, 1]), [batch, vocab]),
          -1,
        );
      });
      input = [...await next.data()];
      next.dispose();
      ids.push(...input);
      ends.push(performance.now());
      position += time;
    }
    cache.forEach((layer) => tf.dispose(layer));
  };
  return {
    async run(repeats) {
      for (let i = 0; i < repeats; i++) await sequence();
    },
    report: () =>
      Promise.resolve({
        tail: ids.filter((_, i) => i % batch === 0).slice(0, 8),
        early: (ends[16] - ends[0]) / 16,
        late: (ends.at(-1)! - ends.at(-17)!) / 16,
      }),
  };
}

/** Scores (B, T, V) of ids (B, T) that follow `start` others, whose keys and values are in the cache. */
function forward(ids: tf.Tensor2D, cache: Cache, start: number): tf.Tensor {
  const [batch, time] = ids.shape;
  if (start + time > context) throw new Error("over the context");
  const positions = tf.slice(weights.get("pos")!, [start, 0], [time, embed]);
  let x = tf.add(tf.gather(weights.get("tok")!, ids), positions);
  for (let i = 0; i < layers; i++) {
    const parts = tf.split(linear(layerNorm(x, `${i}.ln1`), `${i}.qkv`), 3, -1);
    const [query, key, value] = parts.map((part) =>
      tf.transpose(tf.reshape(part, [batch, time, heads, embed / heads]), [0, 2, 1, 3])
    );
    const past = cache[i];
    const k = tf.keep(past ? tf.concat([past.k, key], 2) : key);
    const v = tf.keep(past ? tf.concat([past.v, value], 2) : value);
    tf.dispose(past);
    cache[i] = { k, v };
    let scores = tf.mul(tf.matMul(query, k, false, true), 1 / Math.sqrt(embed / heads));
    if (time > 1) {
      const seen = tf.linalg.bandPart(tf.ones([start + time, start + time]), -1, 0);
      scores = tf.add(
        scores,
        tf.slice(tf.mul(tf.sub(seen, 1), 1e9), [start, 0], [time, start + time]),
      );
    }
    const mixed = tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]);
    x = tf.add(x, linear(tf.reshape(mixed, [batch, time, embed]), `${i}.proj`));
    const hidden = gelu(linear(layerNorm(x, `${i}.ln2`), `${i}.up`));
    x = tf.add(x, linear(hidden, `${i}.down`));
  }
  const flat = tf.reshape(layerNorm(x, "ln"), [-1, embed]);
  return tf.reshape(tf.matMul(flat, output as tf.Tensor2D), [batch, time, vocab]);
}

function linear(x: tf.Tensor, name: string): tf.Tensor {
  const weight = weights.get(`${name}.w`)!;
  const flat = tf.reshape(x, [-1, weight.shape[0]]);
  const y = tf.add(tf.matMul(flat, weight as tf.Tensor2D), weights.get(`${name}.b`)!);
  return tf.reshape(y, [...x.shape.slice(0, -1), weight.shape[1]!]);
}

function layerNorm(x: tf.Tensor, name: string): tf.Tensor {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-5));
  return tf.add(
    tf.mul(tf.mul(centred, scale), weights.get(`${name}.g`)!),
    weights.get(`${name}.b`)!,
  );
}

function gelu(x: tf.Tensor): tf.Tensor {
  const inner = tf.add(x, tf.mul(tf.mul(tf.square(x), x), 0.044715));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(inner, Math.sqrt(2 / Math.PI))), 1));
}
