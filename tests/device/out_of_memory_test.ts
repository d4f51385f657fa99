// What is said where there is no room, and that the device goes on.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { BYTES } from "../../src/device/dtype.ts";
import { OutOfMemoryError } from "../../src/device/errors.ts";
import { mebibytes } from "../../src/device/out_of_memory.ts";
import { WebGpuDevice } from "../../src/device/webgpu/webgpu_device.ts";
import { zeros } from "../../src/tensor/create.ts";
import { scoped } from "../../src/tensor/scope.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { onEachDevice, testWebGpu } from "../support/devices.ts";

/** The message of the OutOfMemoryError that `body` throws. */
function refusal(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    assert.ok(error instanceof OutOfMemoryError, String(error));
    return error.message;
  }
  assert.fail("there was room");
}

await onEachDevice(
  "Tensor.empty() without room tells shape, bytes, use and cure",
  async (device) => {
    using held = zeros([3 * 2 ** 18], { device });
    const before = device.memory();
    const columns = Math.floor(device.maxBufferBytes / (2 * BYTES.f32)) + 1024;
    const message = refusal(() => scoped(() => Tensor.empty(device, [2, columns])));
    assert.ok(
      message.startsWith(
        `No room for a tensor [2, ${columns}] of f32, ${mebibytes(8 * columns)}: `,
      ),
      message,
    );
    const use = `${mebibytes(before.live)} are in use in ${before.buffers} buffer`;
    assert.ok(message.includes(use), message);
    for (const cure of ["batch size", "accumulate", "recompute", "context", "size of the model"]) {
      assert.ok(message.includes(cure), `${cure} in ${message}`);
    }
    const { live, buffers } = device.memory();
    assert.deepEqual({ live, buffers }, { live: before.live, buffers: before.buffers });
    using next = zeros([1000], { device });
    assert.equal((await next.data()).length + held.size, 1000 + 3 * 2 ** 18);
  },
);

Deno.test("CpuDevice says where its memory ends, and has it again when tensors are disposed of", () => {
  using device = CpuDevice.open({ threads: 1 });
  const pieces: Tensor[] = []; // what is never written costs the system nothing
  const message = refusal(() => {
    for (let i = 0; i < 4; i++) pieces.push(Tensor.empty(device, [2 ** 28]));
  });
  assert.match(message, /memory ends at 4,096\.0 MiB|the system gives the CPU device no more/);
  assert.match(message, new RegExp(`${mebibytes(2 ** 30 * pieces.length)} are in use`));
  pieces.forEach((piece) => piece.dispose());
  assert.equal(device.memory().live, 0);
  Tensor.empty(device, [2 ** 20]).dispose();
});

const webgpu = await testWebGpu();
Deno.test({
  name: "releasePooled() destroys free buffers, not those in use",
  ignore: !webgpu,
  fn: async () => {
    using device = await WebGpuDevice.open();
    const used = device.createBuffer(1024);
    device.releaseBuffer(device.createBuffer(4096));
    assert.equal(device.memory().pooled, 4096);
    device.releasePooled();
    assert.deepEqual([device.memory().live, device.memory().pooled], [1024, 0]);
    device.write(used, new Float32Array([1, 2]));
    const [bytes] = await device.read([{ buffer: used, byteOffset: 0, byteLength: 8 }]);
    assert.deepEqual([...new Float32Array(bytes.buffer, bytes.byteOffset, 2)], [1, 2]);
  },
});
