// What a user writes first type-checks; the body of each test runs, too.
import assert from "node:assert/strict";
import { AdamW, CpuDevice, GPT2, type NpyArray, type NpyData, tensor } from "../../mod.ts";
import { encodeNpy, readNpy } from "../../mod.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());

Deno.test("values are indexed as deep as they are, and may have a type", async () => {
  using x = tensor([[1, 2], [3, 4]], { device });
  assert.equal((await x.toArray())[1][0], 3);
  const rows = await x.toArray<number[][]>();
  const row: number[] = rows[1]!;
  assert.deepEqual(row, [3, 4]);
});

Deno.test("tensor() takes readonly arrays", async () => {
  const values = [[1, 2], [3, 4]] as const;
  using x = tensor(values, { device });
  const frozen: readonly (readonly number[])[] = values;
  using y = tensor(frozen, { device });
  assert.deepEqual(await y.toArray(), await x.toArray());
});

Deno.test("tensor() takes whatever a .npy file holds, and wraps no value", async () => {
  const arrays: [data: NpyData, dtype: string][] = [
    [Uint8Array.of(1, 255), "i32"],
    [Int16Array.of(-3, 4), "i32"],
    [BigInt64Array.of(-5n, 6n), "i32"],
    [Float64Array.of(0.5, -1), "f32"],
    [Uint32Array.of(7, 2 ** 32 - 1), "u32"],
  ];
  for (const [data, dtype] of arrays) {
    const npy: NpyArray = await readNpy(encodeNpy(data, [2, 1]));
    using x = tensor(npy.data, { shape: npy.shape, device });
    assert.equal(x.dtype, dtype);
    assert.deepEqual([...await x.data()], Array.from<number | bigint, number>(data, Number));
  }
  for (const data of [BigInt64Array.of(2n ** 31n), Float64Array.of(NaN), [-(2 ** 32)]]) {
    assert.throws(() => tensor(data, { dtype: "i32", device }), RangeError);
  }
  assert.throws(() => tensor([-1], { dtype: "u32", device }), {
    message: "tensor: expected values from 0 to 4294967295 for u32 but got -1",
  });
});

Deno.test("models and optimizers are disposed of by `using` and by dispose()", () => {
  const sizes = { vocabSize: 4, maxPositionEmbeddings: 4, hiddenSize: 4, numHiddenLayers: 1 };
  using model = new GPT2({ ...sizes, numAttentionHeads: 1 }, { device });
  const optimizer = new AdamW(model.parameters());
  optimizer.dispose();
});

Deno.test("deno doc shows Tensor.requiresGrad", async () => {
  const args = ["doc", "--filter", "Tensor", new URL("../../mod.ts", import.meta.url).pathname];
  const command = new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } });
  const { stdout } = await command.output();
  assert.match(new TextDecoder().decode(stdout), /requiresGrad: boolean/);
});
