import assert from "node:assert/strict";
import { generateText, type GenerateTextOptions } from "../../src/decode/generate_text.ts";
import type { NextTokenModel } from "../../src/decode/next_token_model.ts";
import { StopStrings } from "../../src/decode/stop_strings.ts";
import type { Device } from "../../src/device/device.ts";
import { KeyValueCache } from "../../src/nn/key_value_cache.ts";
import { tensor } from "../../src/tensor/create.ts";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { onEachDevice } from "../support/devices.ts";

/** A tokenizer whose ids are the bytes of UTF-8. */
const bytes: Tokenizer = {
  vocabSize: 256,
  specialTokens: new Map(),
  encode: (text) => Uint32Array.from(new TextEncoder().encode(text)),
  encodeOrdinary: (text) => Uint32Array.from(new TextEncoder().encode(text)),
  encodeBatch: (texts) => Array.from(texts, (text) => bytes.encode(text)),
  decode: (ids) => new TextDecoder().decode(bytes.decodeBytes(ids)),
  decodeBytes: (ids) => Uint8Array.from(ids),
};

/** A model of 258 ids that says these after any prompt of one token, and whose padding ids score highest. */
function scripted(device: Device, ids: readonly number[]): NextTokenModel {
  const config = { vocabSize: 258, maxPositionEmbeddings: 64 };
  return {
    config,
    device,
    createCache: (batch) =>
      new KeyValueCache({ device, batch, contextSize: 64, layers: 0, kvHeads: 1, headSize: 1 }),
    nextLogits(input, { cache }) {
      const { position } = cache!.extend(input.shape[1]);
      const logits = new Float32Array(config.vocabSize);
      logits.fill(9, 256);
      logits[ids[position % ids.length]] = 5;
      return tensor(logits, { shape: [1, config.vocabSize], device });
    },
  };
}

async function pieces(
  device: Device,
  said: string,
  options: GenerateTextOptions = {},
): Promise<string[]> {
  const model = scripted(device, [...bytes.encode(said)]);
  const length = bytes.encode(said).length;
  const all = generateText(model, bytes, "x", { length, temperature: 0, ...options });
  return await Array.fromAsync(all);
}

await onEachDevice("generateText() never splits a character", async (device) => {
  assert.deepEqual(await pieces(device, "né 🦕!"), ["n", "é", " ", "🦕", "!"]);
  // Cut off in the middle of one, the text ends as the tokenizer decodes it.
  assert.deepEqual(await pieces(device, "a🦕", { length: 3 }), ["a", "\ufffd"]);
});

await onEachDevice("generateText() ends before a stop string", async (device) => {
  const said = "To be. Or no: END of it";
  const text = async (options: GenerateTextOptions) =>
    (await pieces(device, said, options)).join("");
  assert.equal(await text({ stop: ["END"] }), "To be. Or no: ");
  assert.equal(await text({ stop: ["END", ". O"] }), "To be");
  assert.equal(await text({ stop: ["not"] }), said);
  // What looked like the beginning of one until the end comes out after all.
  assert.equal(await text({ stop: ["ittle"] }), said);
  assert.equal(await text({ stopIds: ["r".charCodeAt(0)] }), "To be. O");
});

await onEachDevice("generateText() ends at the vocabulary's end of text", async (device) => {
  const specialTokens = new Map([["</s>", "r".charCodeAt(0)]]);
  const tokenizer = { ...bytes, specialTokens };
  const model = scripted(device, [...bytes.encode("To be. Or no")]);
  const text = async (options: GenerateTextOptions) => {
    const all = generateText(model, tokenizer, "x", { length: 12, temperature: 0, ...options });
    return (await Array.fromAsync(all)).join("");
  };
  assert.equal(await text({}), "To be. O");
  assert.equal(await text({ stopIds: [] }), "To be. Or no");
});

await onEachDevice("generateText() frees what it has when its reader leaves", async (device) => {
  const before = device.memory().live;
  const model = scripted(device, [65]);
  for await (const piece of generateText(model, bytes, "x", { temperature: 0 })) {
    assert.equal(piece, "A");
    break;
  }
  assert.equal(device.memory().live, before);
});

await onEachDevice("generateText() says what is wrong", async (device) => {
  const model = scripted(device, [65]);
  const run = (tokenizer: Tokenizer, prompt: string, options: GenerateTextOptions = {}) =>
    Array.fromAsync(generateText(model, tokenizer, prompt, options));
  await assert.rejects(run({ ...bytes, vocabSize: 300 }, "x"), {
    name: "RangeError",
    message: "generateText: expected a tokenizer of at most 258 ids, as the model has, but got 300",
  });
  // Special tokens beyond the model's ids, as Gemma 3 has one for pictures, are never drawn.
  const special = new Map([["<image>", 258], ["<audio>", 259]]);
  const pictured = { ...bytes, vocabSize: 260, specialTokens: special };
  assert.equal((await run(pictured, "x", { length: 3, temperature: 0 })).length, 3);
  await assert.rejects(run(bytes, ""), /expected tokens in the prompt but got none/);
  await assert.rejects(
    run(bytes, "x", { stop: [""] }),
    /expected stop strings .* but got an empty one/,
  );
});

Deno.test("StopStrings lets through all before a stop string, however the text is cut", () => {
  const text = "aab abab abc tail";
  for (const stops of [["abc"], ["ababa", "abc"], ["b "], ["nowhere", "tails"], ["a"]]) {
    const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    const expected = text.slice(0, Math.min(text.length, ...ends));
    for (let size = 1; size <= text.length; size++) {
      const filter = new StopStrings(stops);
      let through = "";
      for (let at = 0; at < text.length && !filter.found; at += size) {
        through += filter.push(text.slice(at, at + size));
      }
      assert.equal(through + filter.flush(), expected, `${stops} in pieces of ${size}`);
      assert.equal(filter.found, ends.length > 0);
    }
  }
});
