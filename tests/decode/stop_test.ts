// How a generated text begins and ends: prefixes, special tokens, stop strings and what is held back.
import assert from "node:assert/strict";
import { beamSearch } from "../../src/decode/beam_search.ts";
import { generateText, type GenerateTextOptions } from "../../src/decode/generate_text.ts";
import { StopStrings } from "../../src/decode/stop_strings.ts";
import type { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { testDevices } from "../support/devices.ts";
import { markovModel } from "./markov_model.ts";

const [device] = await testDevices();
/** Devices and their threads live as long as the process. */
const open = { sanitizeResources: false, sanitizeOps: false };

/** Ids are bytes, and 256 is a special token, `<end>`. */
const bytes: Tokenizer = {
  vocabSize: 257,
  specialTokens: new Map([["<end>", 256]]),
  encode: (text) =>
    Uint32Array.from(
      text.split("<end>").flatMap((part, i) => [
        ...(i ? [256] : []),
        ...bytes.encodeOrdinary(part),
      ]),
    ),
  encodeOrdinary: (text) => Uint32Array.from(new TextEncoder().encode(text)),
  encodeBatch: (texts) => Array.from(texts, (text) => bytes.encode(text)),
  decode: (ids) => new TextDecoder().decode(bytes.decodeBytes(ids)),
  decodeBytes: (ids) =>
    Uint8Array.from(
      Array.from(ids).flatMap((id) => id === 256 ? [...new TextEncoder().encode("<end>")] : id),
    ),
};

/** A model that says `said` after an "x"; no byte of it may come twice. */
function saying(said: Iterable<number>) {
  const next = new Map<number, number>();
  let last = "x".charCodeAt(0);
  for (const id of said) {
    assert.ok(!next.has(last), "a byte comes twice");
    next.set(last, id);
    last = id;
  }
  const table = Array.from({ length: 257 }, (_, id) => {
    const row = new Array<number>(257).fill(0);
    row[next.get(id) ?? 0] = 9;
    return row;
  });
  return markovModel(device, table);
}

async function pieces(
  said: Iterable<number>,
  options: GenerateTextOptions & { readonly tokenizer?: Tokenizer; readonly prompt?: string } = {},
) {
  const { tokenizer = bytes, prompt = "x", ...rest } = options;
  const model = saying(said);
  const text = generateText(model, tokenizer, prompt, { temperature: 0, ...rest });
  const found = await Array.fromAsync(text);
  return { found, reads: await Promise.all(model.reads) };
}

Deno.test(
  "generateText() reads the tokenizer's prefix and takes special tokens in a prompt for text",
  open,
  async () => {
    const tokenizer = { ...bytes, prefix: [7, 8] };
    const { reads } = await pieces([65], { tokenizer, prompt: "a<end>x", length: 1 });
    assert.deepEqual(Array.from(reads[0]), [7, 8, ...bytes.encodeOrdinary("a<end>x")]);
  },
);

Deno.test(
  "generateText() gives what is held and half a character in their order at its end",
  open,
  async () => {
    const dinosaur = [...new TextEncoder().encode("🦕")].slice(0, 2);
    const said = [97, 98, ...dinosaur];
    const { found } = await pieces(said, { length: 4, stop: ["bc"] });
    assert.equal(found.join(""), "ab\ufffd");
    assert.ok(found.every((piece) => piece !== ""));
  },
);

Deno.test("generateText() reads no more after a stop string or a stop id", open, async () => {
  const said = new TextEncoder().encode("abc.defgh");
  const options = { length: 9, stop: ["."] };
  const stopped = await pieces(said, options);
  assert.equal(stopped.found.join(""), "abc");
  assert.ok(stopped.reads.length <= 5, `${stopped.reads.length} calls`);
  const ended = await pieces(said, { length: 9, stopIds: [99] });
  assert.equal(ended.found.join(""), "ab");
  assert.ok(ended.reads.length <= 4, `${ended.reads.length} calls`);
});

Deno.test("StopStrings gives nothing after the end, and what was held once", () => {
  const stopped = new StopStrings(["END", "."]);
  assert.equal(stopped.push("a EN"), "a ");
  assert.equal(stopped.push("D of. it"), "");
  assert.ok(stopped.found);
  assert.equal(stopped.push("more"), "");
  assert.equal(stopped.push("more"), "");
  assert.equal(stopped.flush(), "");
  const held = new StopStrings(["END"]);
  assert.equal(held.push("the E"), "the ");
  assert.equal(held.flush(), "E");
  assert.equal(held.flush(), "");
  assert.equal(held.push("ND"), "ND", "what was given out is not looked at again");
  assert.equal(held.found, false);
});

Deno.test("StopStrings ends at the first of several, whichever is named first", () => {
  for (const stops of [["b", "d"], ["d", "b"], ["bc", "b"], ["cd", "abcd", "b"]]) {
    const filter = new StopStrings(stops);
    const expected = "abcd".slice(0, Math.min(...stops.map((stop) => "abcd".indexOf(stop))));
    assert.equal(filter.push("abcd"), expected, stops.join());
    assert.ok(filter.found);
  }
});

Deno.test(
  "beamSearch() ends with its paths, at its signal, and leaves out padding before the softmax",
  open,
  async () => {
    // After 0 come 1 or 2, and then surely the end, 3; 4 only pads the vocabulary.
    const table = [
      [-9, 2, 1, -9, 8],
      [-9, -9, -9, 5, 8],
      [-9, -9, -9, 5, 8],
      [5, -9, -9, -9, 8],
      [0, 0, 0, 0, 0],
    ];
    const model = markovModel(device, table);
    const options = { width: 2, length: 100, stopIds: [3], vocabSize: 4 };
    const [paths] = await beamSearch(model, [[0]], options);
    assert.deepEqual(paths.map(({ ids, ended }) => [...ids, ended]), [[1, 3, true], [2, 3, true]]);
    assert.ok(model.reads.length <= 3, `${model.reads.length} calls`);
    // e^2 and e^1 of e^2 + e^1 + 2 e^-9, without the padding's e^8; then 1 but for 3 e^-14.
    const first = [2, 1].map((score) =>
      score - Math.log(Math.E ** 2 + Math.E + 2 * Math.E ** -9) - Math.log1p(3 * Math.E ** -14)
    );
    paths.forEach(({ score }, i) => {
      assert.ok(Math.abs(score - first[i] / 2 ** 0.75) < 1e-5, `${score}`);
    });

    const before = model.reads.length;
    const signal = AbortSignal.abort(new Error("too late"));
    await assert.rejects(beamSearch(model, [[0]], { ...options, signal }), /too late/);
    assert.equal(model.reads.length, before);
  },
);
