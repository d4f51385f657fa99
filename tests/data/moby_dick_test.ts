import assert from "node:assert/strict";
import { dataset, loadMobyDick } from "../../data/moby_dick.ts";

Deno.test("loadMobyDick() returns the novel when there is no permission at all", {
  permissions: "none",
}, async () => {
  const text = await loadMobyDick(); // checks length and hash itself
  assert.equal(new TextEncoder().encode(text).length, dataset.bytes);
  assert.match(text, /^ETYMOLOGY\. /);
  assert.match(text, /\n\n\nCHAPTER 1\. Loomings\.\n\nCall me Ishmael\. Some years ago/);
  assert.match(text, /only found another orphan\.\n$/);
});
