// Tokenizers of today's families give the ids and texts of Hugging Face's own library, which families.py asked for them.
import assert from "node:assert/strict";
import { tokenizerFromJson } from "../../src/tokenizer/tokenizer_json.ts";
import golden from "./families.json" with { type: "json" };

for (const [name, { file, ids, decoded }] of Object.entries(golden.tokenizers)) {
  Deno.test(`tokenizerFromJson() gives the ids of Hugging Face's library: ${name}`, () => {
    const tokenizer = tokenizerFromJson(file, name);
    const copy = tokenizerFromJson(JSON.parse(JSON.stringify(tokenizer)));
    golden.texts.forEach((text, i) => {
      const found = tokenizer.encode(text, { allowedSpecial: "all" });
      assert.deepEqual([...found], ids[i], JSON.stringify(text));
      assert.deepEqual(copy.encode(text, { allowedSpecial: "all" }), found);
      assert.equal(tokenizer.decode(found), decoded[i]);
    });
  });
}
