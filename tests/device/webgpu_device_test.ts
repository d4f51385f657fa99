import assert from "node:assert/strict";
import type { Binding } from "../../src/device/device.ts";
import type { DType, TypedArray } from "../../src/device/dtype.ts";
import { DeviceError, DeviceLostError, OutOfMemoryError } from "../../src/device/errors.ts";
import { type Kernel, kernel } from "../../src/device/kernel.ts";
import { formatTimings } from "../../src/device/timings.ts";
import { Reader } from "../../src/device/webgpu/reader.ts";
import { WebGpuDevice, type WebGpuOptions } from "../../src/device/webgpu/webgpu_device.ts";
import { testWebGpu } from "../support/devices.ts";
import { testGpu } from "../support/gpu.ts";
import { StubGpu } from "../support/stub_gpu.ts";

const head = `
alias T = f32;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = group.x + group.y * groups.x;
  if (i >= params.n) { return; }
`;

type ScaleParams = { n: number; a: number; first: number };

function elementwise(name: string, line: string): Kernel<ScaleParams> {
  return kernel<ScaleParams>({
    name,
    bindings: { x: { read: name === "iota" ? "*" : "n", optional: true }, y: { write: "n" } },
    params: { n: "u32", a: "f32", first: "u32" },
    gpu: ({ n }, { dtypes }) => ({
      wgsl: `${head}  ${line}\n}`,
      constants: { T: dtypes.y },
      workgroups: n,
    }),
    cpu() {},
    split: "n",
    splitStart: "first",
  });
}

const scale = elementwise("scale", "y[i] = T(params.a) * x[i] + 1;");
const iota = elementwise("iota", "y[i] = T(f32(i + params.first) + params.a * f32(x[0]));");

/** A device whose `GPUDevice` the test can reach, of an adapter without `features` if they are given. */
async function openWrapped(
  options: WebGpuOptions & { features?: string[] } = {},
): Promise<{ device: WebGpuDevice; gpu: GPUDevice }> {
  let gpu: GPUDevice | undefined;
  const wrapped = {
    async requestAdapter(): Promise<GPUAdapter> {
      const adapter = (await testGpu.requestAdapter())!;
      const requestDevice = adapter.requestDevice.bind(adapter);
      if (options.features) {
        Object.defineProperty(adapter, "features", { value: new Set(options.features) });
      }
      adapter.requestDevice = async (descriptor) => gpu = await requestDevice(descriptor);
      return adapter;
    },
  };
  const device = await WebGpuDevice.open({ ...options, gpu: wrapped as unknown as GPU });
  return { device, gpu: gpu! };
}

function tensor(device: WebGpuDevice, data: TypedArray, dtype: DType = "f32"): Binding {
  const buffer = device.createBuffer(data.byteLength);
  device.write(buffer, data);
  return { buffer, dtype, offset: 0, size: data.length };
}

function empty(device: WebGpuDevice, size: number): Binding {
  return { buffer: device.createBuffer(4 * size), dtype: "f32", offset: 0, size };
}

async function values(device: WebGpuDevice, { buffer }: Binding): Promise<Float32Array> {
  const [bytes] = await device.read([{ buffer, byteOffset: 0, byteLength: buffer.bytes }]);
  return new Float32Array(bytes.buffer);
}

const shared = await testWebGpu();

/** A test on the shared WebGPU device, or on one of its own; left out where there is no adapter. */
function gpuTest(name: string, fn: (device: WebGpuDevice) => Promise<void> | void): void {
  Deno.test({
    name,
    ignore: !shared,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () => fn(shared!),
  });
}

gpuTest("launch() runs a kernel with its parameters", async (device) => {
  const x = tensor(device, Float32Array.from({ length: 1000 }, (_, i) => i));
  const y = empty(device, 1000);
  device.launch(scale, { x, y }, { n: 1000, a: 3, first: 0 });
  assert.deepEqual(
    await values(device, y),
    Float32Array.from({ length: 1000 }, (_, i) => 3 * i + 1),
  );
});

gpuTest("launch() runs in order with writes, copies and reads in between", async (device) => {
  const size = 6000; // the whole of it is longer than a small write
  let [a, b] = [tensor(device, new Float32Array(size)), empty(device, size)];
  const mirror = empty(device, size);
  const expected = new Float32Array(size);
  const params = { n: size, a: 1, first: 0 };
  for (let step = 0; step < 700; step++) {
    device.launch(scale, { x: a, y: b }, params);
    [a, b] = [b, a];
    expected.forEach((value, i) => expected[i] = value + 1);
    if (step % 50 === 7) {
      device.write(a.buffer, Float32Array.of(step, -step), 40);
      expected.set([step, -step], 10);
    }
    if (step % 100 === 9) {
      expected.fill(step);
      device.write(a.buffer, expected);
    }
    if (step % 70 === 3) {
      device.copy(a.buffer, 400, mirror.buffer, 0, 400);
      device.copy(mirror.buffer, 0, a.buffer, 800, 400);
      device.copy(a.buffer, 0, a.buffer, 200, 1000);
      expected.copyWithin(200, 100, 200);
      expected.copyWithin(50, 0, 250);
    }
  }
  assert.deepEqual(await values(device, a), expected);
});

gpuTest("launch() lays more than 65,535 workgroups out over x and y", async (device) => {
  const n = 70_001;
  const x = tensor(device, Float32Array.of(0));
  const y = empty(device, n);
  device.launch(iota, { x, y }, { n, a: 0, first: 0 });
  assert.deepEqual(await values(device, y), Float32Array.from({ length: n }, (_, i) => i));
  const three = kernel<ScaleParams>({
    ...iota,
    name: "three",
    gpu: (params, target) => ({ ...iota.gpu!(params, target), workgroups: [1, 65_536] }),
  });
  assert.throws(
    () => device.launch(three, { x, y }, { n, a: 0, first: 0 }),
    /kernel "three": expected at most 65535 workgroups .* but got 1,65536/,
  );
});

gpuTest("launch() refuses a kernel that is for the CPU only", (device) => {
  const { gpu: _, ...declaration } = iota;
  const cpuOnly = kernel<ScaleParams>({ ...declaration, name: "cpu_only" });
  const [x, y] = [empty(device, 1), empty(device, 1)];
  assert.throws(
    () => device.launch(cpuOnly, { x, y }, { n: 1, a: 0, first: 0 }),
    /cpu_only: expected a kernel with a GPU program/,
  );
});

gpuTest("launch() takes f16, odd lengths included", async (device) => {
  if (!device.dtypes.has("f16")) return;
  const x = tensor(device, Float16Array.of(1, 2, 3), "f16");
  const y: Binding = { buffer: device.createBuffer(6), dtype: "f16", offset: 0, size: 3 };
  device.launch(scale, { x, y }, { n: 3, a: 2, first: 0 });
  const [bytes] = await device.read([{ buffer: y.buffer, byteOffset: 0, byteLength: 6 }]);
  assert.deepEqual(new Float16Array(bytes.buffer), Float16Array.of(3, 5, 7));
});

gpuTest("launch() binds from an aligned element on and names one that is not", async (device) => {
  const step = device.bindingAlignment / 4;
  const all = tensor(device, Float32Array.from({ length: 4 * step }, (_, i) => i));
  const y = empty(device, step);
  device.launch(scale, { x: { ...all, offset: 2 * step, size: step }, y }, {
    n: step,
    a: 1,
    first: 0,
  });
  assert.equal((await values(device, y))[0], 2 * step + 1);
  assert.throws(
    () => device.launch(scale, { x: { ...all, offset: 3, size: 4 }, y }, { n: 4, a: 1, first: 0 }),
    /kernel "scale": expected binding "x" to start at a multiple of \d+ bytes but got 12/,
  );
});

gpuTest("launch() leaves out what has nothing to write", async (device) => {
  const none = empty(device, 0);
  const y = tensor(device, Float32Array.of(7));
  device.launch(scale, { x: none, y: none }, { n: 0, a: 1, first: 0 });
  assert.deepEqual(await values(device, y), Float32Array.of(7));
  assert.equal((await values(device, none)).length, 0);
  device.write(none.buffer, new Float32Array(0));
  device.copy(none.buffer, 0, y.buffer, 0, 0);
  assert.deepEqual(await device.read([]), []);
});

gpuTest("launch() binds zeros for an optional binding and for an empty one", async (device) => {
  const y = empty(device, 3);
  device.launch(iota, { y }, { n: 3, a: 100, first: 0 });
  assert.deepEqual(await values(device, y), Float32Array.of(0, 1, 2));
  device.launch(iota, { x: empty(device, 0), y }, { n: 3, a: 100, first: 1 });
  assert.deepEqual(await values(device, y), Float32Array.of(1, 2, 3));
});

gpuTest(
  "write(), copy() and read() refuse ranges outside of a buffer or unaligned",
  async (device) => {
    const { buffer } = empty(device, 4);
    assert.throws(
      () => device.write(buffer, new Float32Array(5)),
      /a range in a buffer of 16 bytes but got 0 to 20/,
    );
    assert.throws(
      () => device.write(buffer, new Float32Array(1), 2),
      /in multiples of 4 but got 2 and 4/,
    );
    assert.throws(() => device.copy(buffer, 8, buffer, 0, 12), RangeError);
    await assert.rejects(device.read([{ buffer, byteOffset: 12, byteLength: 8 }]), RangeError);
    assert.throws(() => device.createBuffer(-1), RangeError);
  },
);

gpuTest(
  "synchronize() throws a program's error with kernel, constants, message and lines",
  async (device) => {
    const x = tensor(device, Float32Array.of(1));
    const y = empty(device, 1);
    const params = { n: 1, a: 1, first: 0 };
    const wrong = elementwise("wrong", "y[i] = x[i]\n + nonsense;");
    device.launch(wrong, { x, y }, params);
    await assert.rejects(device.synchronize(), (error) => {
      assert.ok(error instanceof DeviceError);
      assert.match(error.message, /kernel "wrong" with \{.*"T":"f32"\} does not compile/);
      assert.match(error.message, /nonsense/);
      assert.match(error.message, /> 22 \| {2}\+ nonsense;/);
      return true;
    });
    assert.throws(
      () => device.launch(wrong, { x, y }, params),
      /kernel "wrong".* does not compile/,
    );
    device.launch(scale, { x, y }, params);
    assert.deepEqual(await values(device, y), Float32Array.of(2));
  },
);

gpuTest("read() throws what the GPU refused, with the kernel's name", async (device) => {
  const strict = elementwise("strict", "y[i] = x[i][0];");
  const fixed: Kernel<ScaleParams> = {
    ...strict,
    gpu: (params, target) => {
      const program = strict.gpu!(params, target);
      return { ...program, constants: { ...program.constants, X: "array<f32, 4096>" } };
    },
  };
  const y = empty(device, 1);
  device.launch(fixed, { x: tensor(device, Float32Array.of(1)), y }, { n: 1, a: 1, first: 0 });
  await assert.rejects(values(device, y), /refused a batch of launches \(.*strict.*\)/);
  await device.synchronize();
});

Deno.test("onCompile is told of each program before it is compiled, once", async () => {
  const told: [string, number][] = [];
  using device = await WebGpuDevice.open({
    gpu: testGpu,
    onCompile: (kernel, count) => told.push([kernel, count]),
  });
  const [x, y] = [empty(device, 4), empty(device, 4)];
  const params = { n: 4, a: 1, first: 0 };
  for (const kernel of [scale, iota, scale]) device.launch(kernel, { x, y }, params);
  assert.deepEqual(told, [["scale", 1], ["iota", 2]]);
  await device.synchronize();
});

gpuTest("timings() lists the kernels that ran while profiling was on", async (device) => {
  const x = tensor(device, new Float32Array(1000));
  const y = empty(device, 1000);
  const params = { n: 1000, a: 1, first: 0 };
  device.launch(scale, { x, y }, params);
  device.profile(true);
  for (let i = 0; i < 300; i++) device.launch(scale, { x, y }, params);
  device.launch(iota, { x, y }, params);
  const timings = await device.timings();
  device.profile(false);
  assert.deepEqual(
    new Map(timings.map(({ kernel, calls }) => [kernel, calls])),
    new Map([["scale", 300], ["iota", 1]]),
  );
  assert.equal(timings[0].kernel, "scale");
  assert.ok(timings[0].milliseconds > 0);
  const nanoseconds = Math.round(timings[0].milliseconds * 1e6);
  assert.notEqual(nanoseconds % 2 ** 16, 0, "not rounded, as Dawn would do by itself");
  assert.ok(Math.abs(timings.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9);
  assert.match(formatTimings(timings), /^scale +300 /m);
  assert.deepEqual(await device.timings(), []);
});

gpuTest(
  "a device of an adapter with few features has no f16 and says that it cannot time",
  async () => {
    const { device } = await openWrapped({ features: [] });
    assert.deepEqual([...device.dtypes], ["f32", "i32", "u32"]);
    assert.throws(() => device.profile(true), /expected a device with "timestamp-query"/);
    const half: Binding = { buffer: device.createBuffer(4), dtype: "f16", offset: 0, size: 2 };
    assert.throws(
      () => device.launch(scale, { x: half, y: empty(device, 2) }, { n: 2, a: 1, first: 0 }),
      /kernel "scale": expected binding "x" to be one of f32, i32, u32, .* but got f16/,
    );
    await device.synchronize();
    device.close();
  },
);

gpuTest("Reader reads through several staging buffers what does not fit into one", async () => {
  const { device, gpu } = await openWrapped();
  const sizes = [40, 3, 0, 100, 8];
  const buffers = sizes.map((_, k) => {
    const buffer = gpu.createBuffer({
      size: 128,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    gpu.queue.writeBuffer(buffer, 0, Uint8Array.from({ length: 128 }, (_, i) => i + 10 * k));
    return buffer;
  });
  const reader = new Reader(gpu, 64);
  for (let round = 0; round < 2; round++) {
    const encoder = gpu.createCommandEncoder();
    const finish = reader.record(
      sizes.map((bytes, k) => ({ buffer: buffers[k], offset: 8, bytes })),
      encoder,
    );
    gpu.queue.submit([encoder.finish()]);
    assert.deepEqual(
      await finish(),
      sizes.map((bytes, k) => Uint8Array.from({ length: bytes }, (_, i) => i + 8 + 10 * k)),
    );
  }
  device.close();
});

gpuTest(
  "memory() counts buffers, and a step in a loop leaves none and makes no bind group",
  async () => {
    const { device, gpu } = await openWrapped();
    let made = 0;
    const createBindGroup = gpu.createBindGroup.bind(gpu);
    gpu.createBindGroup = (descriptor) => (made++, createBindGroup(descriptor));
    const x = tensor(device, new Float32Array(1000));
    assert.deepEqual(device.memory(), { live: 4032, peak: 4032, pooled: 0, buffers: 1 });
    const step = (): void => {
      const a = empty(device, 1000);
      const b = empty(device, 1000);
      device.launch(scale, { x, y: a }, { n: 1000, a: 1, first: 0 });
      device.launch(scale, { x: a, y: b }, { n: 1000, a: 1, first: 0 });
      device.releaseBuffer(a.buffer);
      device.releaseBuffer(a.buffer); // once more does nothing
      const c = empty(device, 996);
      device.launch(scale, { x: { ...b, size: 996 }, y: c }, { n: 996, a: 1, first: 0 });
      device.releaseBuffer(b.buffer);
      device.releaseBuffer(c.buffer);
    };
    step();
    const before = device.memory();
    assert.deepEqual(before, { live: 4032, peak: 3 * 4032, pooled: 2 * 4032, buffers: 1 });
    assert.equal(made, 3);
    for (let i = 0; i < 300; i++) step();
    assert.deepEqual(device.memory(), before);
    assert.equal(made, 3);
    await device.synchronize();
    device.close();
  },
);

gpuTest("open() with low limits splits long launches", async () => {
  const device = await WebGpuDevice.open({
    limits: { maxStorageBufferBindingSize: 4096, minStorageBufferOffsetAlignment: 256 },
  });
  assert.equal(device.maxBindingBytes, 4096);
  assert.equal(device.bindingAlignment, 256);
  const n = 10_001;
  const x = tensor(device, Float32Array.from({ length: n }, (_, i) => 2 * i));
  const y = empty(device, n);
  device.launch(scale, { x, y }, { n, a: 0.5, first: 0 });
  assert.deepEqual(await values(device, y), Float32Array.from({ length: n }, (_, i) => i + 1));
  device.launch(iota, { y }, { n, a: 0, first: 0 });
  assert.deepEqual(await values(device, y), Float32Array.from({ length: n }, (_, i) => i));
  const { split: _, ...whole } = scale;
  assert.throws(
    () => device.launch(whole, { x, y }, { n, a: 1, first: 0 }),
    /kernel "scale": expected binding "x" to span at most the 4096 bytes .* got 40004/,
  );
  device.close();
});

gpuTest("open() with a memory limit throws an OutOfMemoryError above it", async () => {
  const device = await WebGpuDevice.open({
    memoryLimit: 2 ** 20,
    limits: { maxBufferSize: 2 ** 19 },
  });
  const keep = device.createBuffer(2 ** 19);
  device.releaseBuffer(device.createBuffer(2 ** 18));
  device.createBuffer(2 ** 19);
  assert.equal(device.memory().pooled, 0);
  assert.throws(() => device.createBuffer(4), OutOfMemoryError);
  device.releaseBuffer(keep);
  assert.throws(() => device.createBuffer(2 ** 19 + 1), /one buffer may have 524,288 bytes/);
  device.createBuffer(4);
  device.close();
  await Promise.resolve();
});

gpuTest(
  "synchronize() throws an OutOfMemoryError that the GPU reported, and the pool is dropped",
  async () => {
    const { device, gpu } = await openWrapped();
    device.releaseBuffer(device.createBuffer(1024));
    const popErrorScope = gpu.popErrorScope.bind(gpu);
    gpu.popErrorScope = async () => {
      await popErrorScope();
      return new GPUOutOfMemoryError("Not enough memory left.");
    };
    const failed = device.createBuffer(4096, () => "a tensor [1024] of f32");
    gpu.popErrorScope = popErrorScope;
    await assert.rejects(
      device.synchronize(),
      (error) =>
        error instanceof OutOfMemoryError &&
        /a tensor \[1024\] of f32, 4,096 bytes: Not enough memory left.*lower the batch size/
          .test(error.message),
    );
    assert.equal(device.memory().pooled, 0);
    device.releaseBuffer(failed);
    assert.equal(device.memory().pooled, 0, "what was never allocated is not used again");
    device.close();
  },
);

Deno.test("long writes are submitted from time to time, as wgpu keeps them until then", async () => {
  const stub = new StubGpu();
  using device = await WebGpuDevice.open({ gpu: stub.gpu });
  const data = new Uint8Array(16 * 2 ** 20);
  const buffer = device.createBuffer(data.length);
  for (let i = 0; i < 20; i++) device.write(buffer, data);
  assert.equal(stub.counts.submits, 2);
});

Deno.test("reading nothing says nothing about the GPU's speed", async () => {
  const stub = new StubGpu();
  using device = await WebGpuDevice.open({ gpu: stub.gpu });
  const slow = kernel<ScaleParams>({
    ...iota,
    gpu: (params, target) => ({ ...iota.gpu!(params, target), flops: 4e10 }), // an estimated 40 ms
  });
  const [x, y] = [empty(device, 1), empty(device, 1)];
  const launch = () => device.launch(slow, { x, y }, { n: 1, a: 0, first: 0 });
  for (let i = 0; i < 20; i++) {
    launch();
    await device.read([]);
  }
  stub.reset();
  for (let i = 0; i < 8; i++) launch();
  await device.synchronize();
  assert.equal(stub.counts.submits, 4);
});

gpuTest("close() rejects what waits and what comes later", async () => {
  const device = await WebGpuDevice.open();
  const y = empty(device, 4);
  const waiting = values(device, y);
  const synchronizing = device.synchronize();
  device.close();
  await Promise.all([
    assert.rejects(waiting, DeviceLostError),
    assert.rejects(synchronizing, DeviceLostError),
  ]);
  await assert.rejects(device.lost, /was closed/);
  await assert.rejects(values(device, y), DeviceLostError);
  assert.throws(
    () => device.launch(iota, { y }, { n: 4, a: 0, first: 0 }),
    DeviceLostError,
  );
  assert.throws(() => device.createBuffer(4), DeviceLostError);
  device.releaseBuffer(y.buffer);
  device.close();
});

gpuTest("a device that goes away rejects `lost`, and launches and reads after it", async () => {
  const { device, gpu } = await openWrapped();
  const y = empty(device, 4);
  device.launch(iota, { y }, { n: 4, a: 0, first: 0 });
  gpu.destroy();
  await assert.rejects(values(device, y), DeviceLostError);
  await assert.rejects(device.lost, /was lost \(destroyed.*open a new one and go on from the last/);
  assert.throws(() => device.launch(iota, { y }, { n: 4, a: 0, first: 0 }), DeviceLostError);
});
