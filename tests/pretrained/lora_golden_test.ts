// Models and adapters that transformers 5.18 and PEFT 0.21 wrote, and the float64 numbers that they computed with them.
import assert from "node:assert/strict";
import type { GPT2 } from "../../src/models/gpt2.ts";
import type { LLaMA } from "../../src/models/llama.ts";
import { loadModel } from "../../src/pretrained/load_model.ts";
import { loadLoRA } from "../../src/pretrained/lora_files.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import numbers from "../golden/lora/numbers.json" with { type: "json" };
import { assertClose } from "../support/compare.ts";
import { onEachDevice } from "../support/devices.ts";

for (const kind of ["gpt2", "llama"] as const) {
  await onEachDevice(`an adapter of PEFT's gives its numbers in ${kind}`, async (device) => {
    using _scope = new Scope();
    const folder = new URL(`../golden/lora/${kind}`, import.meta.url);
    using model = await loadModel(folder, { device }) as GPT2 | LLaMA;
    const expected = numbers[kind];
    const ids = tensor(numbers.ids, { device, dtype: "i32" });
    assertClose(await model.logits(ids).data(), expected.plain, 1e-5);
    using adapter = await loadLoRA(folder, model);
    assertClose(await model.logits(ids).data(), expected.adapted, 1e-5);

    const targets = numbers.ids.map((row, b) =>
      row.map((_, t) => numbers.learned[b][t + 1] ? row[t + 1] : -100)
    );
    const loss = model.loss(ids, tensor(targets, { device, dtype: "i32" }));
    assert.ok(Math.abs(await loss.item() - expected.loss) < 1e-5 * expected.loss);
    loss.backward();
    const grads = expected.grads as Record<string, number[]>;
    assert.equal(Object.keys(grads).length, adapter.parameters().size);
    for (const [name, { grad }] of adapter.parameters()) {
      const known = grads[name] ?? grads[`transformer.${name}`];
      assertClose(await grad!.data(), known, 1e-4, name);
    }
    adapter.merge();
    assertClose(await model.logits(ids).data(), expected.adapted, 1e-5);
  });
}
