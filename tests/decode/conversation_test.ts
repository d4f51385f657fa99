import assert from "node:assert/strict";
import { generate } from "../../src/decode/generate.ts";
import { Conversation, type GenerateTextOptions } from "../../src/decode/generate_text.ts";
import type { NextTokenModel } from "../../src/decode/next_token_model.ts";
import type { GPT2 } from "../../src/models/gpt2.ts";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { onEachDevice } from "../support/devices.ts";
import { sharpModel } from "./sharp_model.ts";

/** A tokenizer of 40 ids, "A" (0) to "h" (39) in the order of ASCII. */
const letters: Tokenizer = {
  vocabSize: 40,
  specialTokens: new Map(),
  encode: (text) => Uint32Array.from(text, (letter) => letter.charCodeAt(0) - 65),
  encodeOrdinary: (text) => letters.encode(text),
  encodeBatch: (texts) => Array.from(texts, (text) => letters.encode(text)),
  decode: (ids) => new TextDecoder().decode(letters.decodeBytes(ids)),
  decodeBytes: (ids) => Uint8Array.from(ids, (id) => id + 65),
};

const GREEDY = { temperature: 0 } as const;

/** The model, and how many ids it was given to read in each call. */
function counted(model: GPT2): NextTokenModel & { readonly reads: number[] } {
  const reads: number[] = [];
  return {
    reads,
    config: model.config,
    device: model.device,
    createCache: (batch) => model.createCache(batch),
    nextLogits(ids, options) {
      reads.push(ids.shape[1]);
      return model.nextLogits(ids, options);
    },
  };
}

async function said(
  chat: Conversation,
  prompt: string | ArrayLike<number>,
  options: GenerateTextOptions,
): Promise<string> {
  return (await Array.fromAsync(chat.generate(prompt, { ...GREEDY, ...options }))).join("");
}

await onEachDevice("Conversation reads only what is new, and says the same", async (device) => {
  const model = sharpModel(device, { maxPositionEmbeddings: 100 });
  const before = device.memory().live;
  const other = counted(model);
  const chat = new Conversation(other, letters);
  let all: number[] = [];
  for (const [turn, prompt] of ["ABCDE", "F", "GHIJKLMNOP", "", "hgf"].entries()) {
    other.reads.length = 0;
    const reply = await said(chat, prompt, { length: 9 });
    all = [...all, ...letters.encode(prompt)];
    const [{ ids }] = await generate(model, [all], { ...GREEDY, length: 9 });
    assert.equal(reply, letters.decode(ids), `turn ${turn}`);
    all = [...all, ...ids];
    assert.deepEqual([...chat.ids], all);
    // The last token of a reply is drawn and not read until the next turn.
    assert.equal(other.reads[0], prompt.length + (turn > 0 ? 1 : 0));
    assert.ok(other.reads.slice(1).every((read) => read === 1));
  }
  chat.dispose();
  assert.equal(device.memory().live, before);
  await assert.rejects(said(chat, "A", {}), /expected one in use but got one that is disposed/);
  model.dispose();
});

await onEachDevice(
  "Conversation takes back what is drawn after the end of a reply",
  async (device) => {
    const model = sharpModel(device, { maxPositionEmbeddings: 100 });
    const [{ ids: free }] = await generate(model, [[1, 2, 3]], { ...GREEDY, length: 40 });
    const end = free.findIndex((id, i) => i >= 5 && free.indexOf(id) === i);
    assert.ok(end > 0);
    const ways: ((chat: Conversation) => Promise<unknown>)[] = [
      (chat) => said(chat, [1, 2, 3], { length: 40, stopIds: [free[end]] }),
      (chat) => said(chat, [1, 2, 3], { length: 40, stop: [letters.decode([free[end]])] }),
      async (chat) => {
        let pieces = 0;
        for await (const _ of chat.generate([1, 2, 3], { ...GREEDY, length: 40 })) {
          if (pieces++ === end) break;
        }
      },
      async (chat) => {
        const stop = new AbortController();
        let pieces = 0;
        const options = { ...GREEDY, length: 40, signal: stop.signal };
        await assert.rejects(async () => {
          for await (const _ of chat.generate([1, 2, 3], options)) {
            if (pieces++ === end) stop.abort(new Error("enough"));
          }
        }, /enough/);
      },
    ];
    for (const [way, run] of ways.entries()) {
      const other = counted(model);
      using chat = new Conversation(other, letters);
      await run(chat);
      const all = [...chat.ids];
      assert.ok(all.length >= 4 + end);
      // An abort is seen before the next pass: what was read until then stays.
      if (way < 3) assert.deepEqual(all, [1, 2, 3, ...free.slice(0, end + 1)]);
      other.reads.length = 0;
      const reply = await said(chat, "AB", { length: 9 });
      const [{ ids }] = await generate(model, [[...all, 0, 1]], { ...GREEDY, length: 9 });
      assert.equal(reply, letters.decode(ids), `way ${way}`);
      assert.equal(other.reads[0], 3, `way ${way}`);
    }
    model.dispose();
  },
);

await onEachDevice("Conversation ends at the context, or slides over it", async (device) => {
  const model = sharpModel(device); // a context of 24
  using chat = new Conversation(model, letters);
  await said(chat, "ABCDEFGHIJ", { length: 10 });
  const held = chat.ids;
  await assert.rejects(said(chat, "AB", { length: 4 }), {
    name: "RangeError",
    message:
      "Conversation: expected at most 24 tokens of context but got a conversation of 22 and 4 more",
  });
  assert.deepEqual(chat.ids, held);
  // Without a length the reply fills the context, of whose last token nothing follows.
  await said(chat, "AB", {});
  assert.equal(chat.ids.length, 25);
  const overflow = "slide";
  for (const prompt of ["ABC", "ABCDEFGHIJKLMNOPQ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]) {
    // What is new is read with what is left of the older half, as far as it fits.
    const added = prompt.length + 1;
    const left = [...chat.ids, ...letters.encode(prompt)].slice(-Math.min(24, Math.max(12, added)));
    const reply = await said(chat, prompt, { length: 1, overflow });
    const [{ ids }] = await generate(model, [left], { ...GREEDY, length: 1 });
    assert.equal(reply, letters.decode(ids));
    assert.deepEqual([...chat.ids], [...left, ...ids]);
    await said(chat, "", { length: 30, overflow });
    assert.ok(chat.ids.length <= 25);
  }
  model.dispose();
});

await onEachDevice("Conversation says what is wrong, and goes on", async (device) => {
  const model = sharpModel(device);
  const wide = { ...letters, vocabSize: 41 };
  assert.throws(
    () => new Conversation(model, wide),
    new RangeError(
      "Conversation: expected a tokenizer of at most 40 ids, as the model has, but got 41",
    ),
  );
  let fail = false;
  const failing: NextTokenModel = {
    config: model.config,
    device,
    createCache: (batch) => model.createCache(batch),
    nextLogits(ids, options) {
      const logits = model.nextLogits(ids, options);
      if (fail) throw new Error("the device is lost");
      return logits;
    },
  };
  using chat = new Conversation(failing, letters);
  await assert.rejects(
    said(chat, "", {}),
    /^RangeError: Conversation: expected tokens in the prompt but got none$/,
  );
  await assert.rejects(
    said(chat, [1, 40], {}),
    /expected ids from 0 to 39 but got 40 at 1 of the prompt/,
  );
  assert.equal(chat.ids.length, 0);
  await said(chat, "ABC", { length: 3 });
  const first = chat.generate("D", GREEDY);
  await first.next();
  await assert.rejects(said(chat, "E", {}), /expected one reply at a time but got a second/);
  await first.return();
  fail = true;
  await assert.rejects(said(chat, "FG", { length: 2 }), /the device is lost/);
  fail = false;
  const all = chat.ids;
  const reply = await said(chat, "H", { length: 3 });
  const [{ ids }] = await generate(model, [[...all, 7]], { ...GREEDY, length: 3 });
  assert.equal(reply, letters.decode(ids));
  model.dispose();
});
