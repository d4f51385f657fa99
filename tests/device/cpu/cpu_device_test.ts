import assert from "node:assert/strict";
import { fill } from "../../../kernels/elementwise/fill.ts";
import { CpuDevice } from "../../../src/device/cpu/cpu_device.ts";
import { DeviceError, DeviceLostError } from "../../../src/device/errors.ts";

Deno.test("CpuDevice.open() starts without any permission and lets the process end", async () => {
  const program = `
    import { CpuDevice } from ${
    JSON.stringify(new URL("../../../src/device/cpu/cpu_device.ts", import.meta.url))
  };
    const device = CpuDevice.open();
    const buffer = device.createBuffer(4_000_000);
    const [bytes] = await device.read([{ buffer, byteOffset: 0, byteLength: 8 }]);
    console.log(device.kind, bytes.length);
  `;
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/program.ts`, program);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", `${folder}/program.ts`],
  }).output();
  await Deno.remove(folder, { recursive: true });
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  assert.equal(new TextDecoder().decode(stdout), "cpu 8\n");
});

Deno.test("CpuDevice counts live, peak and pooled bytes", () => {
  using device = CpuDevice.open({ threads: 1 });
  const a = device.createBuffer(1024);
  const b = device.createBuffer(2048);
  assert.deepEqual(device.memory(), { live: 3072, peak: 3072, pooled: 0, buffers: 2 });
  device.releaseBuffer(a);
  assert.deepEqual(device.memory(), { live: 2048, peak: 3072, pooled: 1024, buffers: 1 });
  device.resetPeak();
  assert.equal(device.memory().peak, 2048);
  device.releaseBuffer(b);
});

Deno.test("CpuDevice refuses foreign and released buffers, and work after close()", async () => {
  const device = CpuDevice.open({ threads: 1 });
  using other = CpuDevice.open({ threads: 1 });
  const buffer = device.createBuffer(16);
  const binding = { buffer, dtype: "f32", offset: 0, size: 4 } as const;
  assert.throws(
    () => other.launch(fill, { y: binding }, { count: 4, value: 1 }),
    /kernel "fill": expected binding "y" to be on this device but got a buffer of another one, CPU/,
  );
  await assert.rejects(
    device.read([{ buffer, byteOffset: 8, byteLength: 16 }]),
    /a range in a buffer of 16 bytes but got 8 to 24/,
  );
  device.releaseBuffer(buffer);
  assert.throws(() => device.write(buffer, new Float32Array(4)), DeviceError);
  device.close();
  device.close();
  await assert.rejects(device.lost, DeviceLostError);
  assert.throws(() => device.createBuffer(4), DeviceLostError);
});

Deno.test("CpuDevice.timings() tells the time of each kernel", async () => {
  using device = CpuDevice.open({ threads: 1 });
  device.profile(true);
  const buffer = device.createBuffer(4000);
  const binding = { buffer, dtype: "f32", offset: 0, size: 1000 } as const;
  for (let i = 0; i < 3; i++) device.launch(fill, { y: binding }, { count: 1000, value: i });
  const [row] = await device.timings();
  assert.deepEqual([row.kernel, row.calls, row.share], ["fill", 3, 1]);
  device.profile(false);
  assert.deepEqual(await device.timings(), []);
});
