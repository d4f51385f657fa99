// Tensors that nobody disposes of: memory stays bounded, and the program is told once.
import assert from "node:assert/strict";

const module = new URL("../../mod.ts", import.meta.url);

Deno.test("an evaluation loop without scopes keeps its memory bounded and is warned once", async () => {
  const program = `
    import { CpuDevice, GPT2, tensor } from "${module}";
    using device = CpuDevice.open({ threads: 1 });
    const sizes = { vocabSize: 500, maxPositionEmbeddings: 64, hiddenSize: 64, numHiddenLayers: 2, numAttentionHeads: 2 };
    const model = new GPT2(sizes, { device });
    const ids = tensor(new Int32Array(256), { shape: [4, 64], device });
    let most = 0;
    for (let i = 0; i < 250; i++) {
      await model.loss(ids, ids).item();
      most = Math.max(most, device.memory().live);
    }
    console.log(most);`;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(path, program);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", path],
    env: { NO_COLOR: "1" },
  }).output();
  await Deno.remove(path);
  const said = new TextDecoder().decode(stderr);
  assert.ok(success, said);
  const most = Number(new TextDecoder().decode(stdout)) / 2 ** 20;
  assert.ok(most < 400, `${most} MiB were in use at once`);
  assert.equal(said.match(/left to the garbage collector/g)?.length, 1, said);
  assert.match(said, /Scope.*noGrad/);
});
