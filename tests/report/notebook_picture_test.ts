import assert from "node:assert/strict";
import { CpuDevice, NotebookPicture, tensor } from "../../mod.ts";

const display = Symbol.for("Jupyter.display");

Deno.test("a notebook shows a tensor's values, and a picture as SVG", async () => {
  using device = CpuDevice.open({ threads: 1 });
  using x = tensor([[1, 2], [3, 4]], { device });
  const shown = await x[display]() as Record<string, string>;
  assert.match(shown["text/plain"]!, /^\[\[1, 2\],\s+\[3, 4\]\]/);
  const picture = new NotebookPicture("<svg/>", "a curve");
  assert.deepEqual(picture[display](), { "text/plain": "a curve", "image/svg+xml": "<svg/>" });
});
