import assert from "node:assert/strict";
import { BytePairTokenizer } from "../../src/tokenizer/byte_pair_tokenizer.ts";
import { GPT2Tokenizer } from "../../src/tokenizer/gpt2_tokenizer.ts";
import { StreamDecoder } from "../../src/tokenizer/tokenizer.ts";
import { randomText, seededRandom } from "./texts.ts";

const gpt2 = new GPT2Tokenizer();
/** Every byte an id: the hardest stream. */
const bytes = BytePairTokenizer.train("", { merges: 0 });

Deno.test("StreamDecoder.push() gives whole characters when tokens cut them", () => {
  const random = seededRandom(7);
  for (const tokenizer of [gpt2, bytes]) {
    for (let i = 0; i < 500; i++) {
      const text = randomText(random);
      const stream = new StreamDecoder(tokenizer);
      let streamed = "";
      for (const id of tokenizer.encode(text)) {
        const part = stream.push(id);
        assert(part.isWellFormed());
        assert(text.startsWith(part, streamed.length), JSON.stringify({ text, streamed, part }));
        streamed += part;
      }
      assert.equal(streamed, text);
      assert.equal(stream.flush(), "");
    }
  }
});

Deno.test("StreamDecoder gives what decode() gives when bytes are not UTF-8", () => {
  const random = seededRandom(8);
  for (let i = 0; i < 500; i++) {
    const ids = Array.from({ length: 20 }, () => Math.floor(random() * 256));
    const stream = new StreamDecoder(bytes);
    const streamed = ids.map((id) => stream.push(id)).join("") + stream.flush();
    assert.equal(streamed, bytes.decode(ids));
  }
});

Deno.test("StreamDecoder.flush() gives U+FFFD when a character is unfinished, and starts anew", () => {
  const stream = new StreamDecoder(bytes);
  assert.equal(stream.push(0xf0), "");
  assert.equal(stream.push(0x9f), "");
  assert.equal(stream.flush(), "\ufffd");
  assert.equal(stream.push(0x61), "a");
  assert.equal(stream.flush(), "");
});

Deno.test("StreamDecoder.push() keeps what it holds when an id is refused", () => {
  const stream = new StreamDecoder(gpt2);
  const [first, ...rest] = gpt2.encode("🦕");
  assert.equal(stream.push(first), "");
  assert.throws(
    () => stream.push(50257),
    /ids\[0\]: expected an integer from 0 to 50256 but got 50257/,
  );
  assert.equal(rest.map((id) => stream.push(id)).join(""), "🦕");
});
