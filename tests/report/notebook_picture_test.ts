import assert from "node:assert/strict";
import { CpuDevice, NotebookPicture, tensor } from "../../mod.ts";

/** What `deno jupyter` shows for a cell's value. */
async function displayOf(value: object): Promise<Record<string, string>> {
  const display = Reflect.get(value, Symbol.for("Jupyter.display"));
  return await display.call(value);
}

Deno.test("a notebook shows a tensor's values, and a picture as SVG", async () => {
  using device = CpuDevice.open({ threads: 1 });
  using x = tensor([[1, 2], [3, 4]], { device });
  assert.match((await displayOf(x))["text/plain"], /^\[\[1, 2\],\s+\[3, 4\]\]/);
  const picture = new NotebookPicture("<svg/>", "a curve");
  assert.deepEqual(await displayOf(picture), {
    "text/plain": "a curve",
    "image/svg+xml": "<svg/>",
  });
});
