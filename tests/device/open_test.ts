import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { defaultDevice, setDefaultDevice } from "../../src/device/default.ts";
import { DeviceError } from "../../src/device/errors.ts";
import { openDevice } from "../../src/device/open.ts";
import { testWebGpu } from "../support/devices.ts";

/** WebGPU with an adapter of this name that gives no device, or with none. */
function fakeGpu(adapter: Partial<GPUAdapterInfo> | null): GPU {
  const limits = {};
  return {
    requestAdapter: () =>
      Promise.resolve(
        adapter && {
          info: adapter,
          limits,
          features: new Set(),
          requestDevice: () => Promise.reject(new Error("no driver")),
        },
      ),
  } as unknown as GPU;
}

Deno.test("openDevice() opens the CPU and says why when there is no adapter", async () => {
  const lines: string[] = [];
  const device = await openDevice({ gpu: fakeGpu(null), log: (line) => lines.push(line) });
  assert.equal(device.kind, "cpu");
  assert.deepEqual(lines, [
    `device: ${device.description} (WebGPU finds no adapter on this machine)`,
  ]);
  device.close();
});

Deno.test("openDevice() takes no software adapter unless asked", async () => {
  for (
    const info of [
      { description: "llvmpipe (LLVM 15.0.6, 256 bits)" },
      { vendor: "google", architecture: "swiftshader" },
      { description: "Some GPU", isFallbackAdapter: true },
    ]
  ) {
    let said = "";
    const device = await openDevice({ gpu: fakeGpu(info), log: (line) => said = line });
    assert.equal(device.kind, "cpu");
    assert.match(said, /\(WebGPU has only the software adapter (llvmpipe|google|Some GPU)/);
    device.close();
  }
});

Deno.test("openDevice() opens the CPU when the adapter gives no device", async () => {
  let said = "";
  const gpu = fakeGpu({ description: "Some GPU" });
  const device = await openDevice({ gpu, log: (line) => said = line });
  assert.equal(device.kind, "cpu");
  assert.match(said, /a device of the WebGPU adapter Some GPU but got none: no driver/);
  device.close();
  await assert.rejects(openDevice({ kind: "webgpu", gpu, log: false }), DeviceError);
});

Deno.test("openDevice() of kind webgpu without an adapter tells how to get one", async () => {
  await assert.rejects(
    openDevice({ kind: "webgpu", gpu: fakeGpu(null), log: false }),
    (error) =>
      error instanceof DeviceError &&
      /No WebGPU device: .*no adapter.*mesa-vulkan-drivers/.test(error.message),
  );
});

Deno.test("openDevice() refuses a kind that does not exist", async () => {
  await assert.rejects(
    openDevice({ kind: "cuda" as "cpu" }),
    /openDevice: expected kind "webgpu" or "cpu" but got "cuda"/,
  );
});

Deno.test("the first opened device is the default until it is closed", async () => {
  setDefaultDevice(undefined);
  assert.throws(() => defaultDevice(), /expected an open device but got none/);
  const first = await openDevice({ kind: "cpu", log: false });
  const second = await openDevice({ kind: "cpu", log: false });
  assert.equal(defaultDevice(), first);
  setDefaultDevice(second);
  assert.equal(defaultDevice(), second);
  first.close();
  second.close();
  await assert.rejects(second.lost);
  assert.throws(() => defaultDevice(), /expected an open device but got none/);
});

Deno.test({
  name: "openDevice() of kind webgpu opens a software adapter, too",
  ignore: !await testWebGpu(),
  sanitizeOps: false,
  fn: async () => {
    let said = "";
    const device = await openDevice({ kind: "webgpu", log: (line) => said = line });
    assert.equal(device.kind, "webgpu");
    assert.match(said, /over WebGPU.* \(requested\)$/);
    assert.ok(!(device instanceof CpuDevice));
    device.close();
  },
});

Deno.test("openDevice() takes no adapter over OpenGL", async () => {
  const info = { description: "Some GPU", subgroupMinSize: 4, subgroupMaxSize: 128 };
  const gpu = fakeGpu(info);
  let said = "";
  const device = await openDevice({ gpu, log: (line) => said = line });
  assert.equal(device.kind, "cpu");
  assert.match(said, /its only adapter goes through OpenGL/);
  device.close();
  await assert.rejects(openDevice({ kind: "webgpu", gpu, log: false }), /OpenGL.*driver/);
});

Deno.test("openDevice() survives where wgpu has OpenGL only", async () => {
  const mod = new URL("../../mod.ts", import.meta.url).href;
  const program = `import { openDevice, tensor, sum } from "${mod}";
    using device = await openDevice({ log: false });
    console.log(device.kind, await sum(tensor([1, 2], { device })).item());
    console.log(await openDevice({ kind: "webgpu", log: false }).then(() => 0, (e) => e.name));`;
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", program],
    env: { DENO_WEBGPU_BACKEND: "gl", DINOGRAD_GPU: "" },
  }).output();
  assert.deepEqual([code, new TextDecoder().decode(stdout)], [0, "cpu 3\nDeviceError\n"]);
});
