import assert from "node:assert/strict";
import type { Binding, Device, DeviceBuffer } from "../../src/device/device.ts";
import type { DType } from "../../src/device/dtype.ts";
import { DeviceError } from "../../src/device/errors.ts";
import { kernel } from "../../src/device/kernel.ts";
import { onEachDevice } from "../support/devices.ts";

type Sizes = { rows: number; columns: number; shift: number; factor: number };

const never = () => assert.fail("the launch should have been refused");

const probe = kernel<Sizes>({
  name: "probe",
  bindings: {
    x: { read: "rows columns" },
    ids: { read: "rows", dtype: "i32", optional: true },
    y: { write: "rows columns" },
    z: { write: "*", optional: true },
  },
  params: { rows: "u32", columns: "u32", shift: "i32", factor: "f32" },
  gpu: never,
  cpu: never,
});

function bind(device: Device, size: number, dtype: DType = "f32", offset = 0): Binding {
  return { buffer: device.createBuffer(4 * (size + offset)), dtype, offset, size };
}

await onEachDevice("launch() names the kernel and what is wrong with a call", (device) => {
  const params: Sizes = { rows: 3, columns: 4, shift: -1, factor: 0.5 };
  const [x, y, z] = [12, 12, 12].map((size) => bind(device, size));
  const released = bind(device, 12);
  device.releaseBuffer(released.buffer);
  const foreign = { device: { description: "another" }, bytes: 48 } as DeviceBuffer;
  const refused = (
    expected: RegExp,
    bindings: Record<string, Binding | undefined>,
    more: Record<string, unknown> = {},
  ): void => {
    const launch = () =>
      device.launch(probe, { x, y, ...bindings }, { ...params, ...more } as Sizes);
    assert.throws(launch, (error) => {
      assert.ok(error instanceof DeviceError, `${error}`);
      assert.ok(error.message.startsWith('kernel "probe": expected '), error.message);
      assert.match(error.message, expected);
      return true;
    });
  };
  refused(/parameter "shift" to be i32 but got undefined/, {}, { shift: undefined });
  refused(/parameter "factor" to be f32 but got undefined/, {}, { factor: undefined });
  refused(/parameter "rows" to be u32 but got 1.5/, {}, { rows: 1.5 });
  refused(/parameter "rows" to be u32 but got -1/, {}, { rows: -1 });
  refused(/parameter "rows" to be u32 but got 4294967296/, {}, { rows: 2 ** 32 });
  refused(/parameter "shift" to be i32 but got 2147483648/, {}, { shift: 2 ** 31 });
  refused(/parameters rows, columns, shift, factor but got "row"/, {}, { row: 1 });
  refused(/binding "y" but got none/, { y: undefined });
  refused(/bindings x, ids, y, z but got "w"/, { w: x });
  refused(/"x" to be in use/, { x: released, w: undefined }); // a binding left out is none
  refused(/"x" to be on this device .* another/, { x: { ...x, buffer: foreign } });
  refused(/"x" to be in use but got a buffer that was released/, { x: released });
  refused(/"x" to have 12 elements \(rows columns\) but got 10/, { x: { ...x, size: 10 } });
  refused(/"y" to have 20 elements/, { x: bind(device, 20) }, { rows: 5 });
  refused(/"z" to lie within a buffer of 48 bytes but got elements 0 to 13/, {
    z: { ...z, size: 13 },
  });
  refused(/"x" to lie within a buffer of 48 bytes/, { x: { ...x, offset: 64 } });
  refused(/"ids" to be i32 but got f32/, { ids: bind(device, 3) });
  refused(/"x" and "y" to be different buffers, as "y" is written/, { y: x });
  refused(/"y" and "z" to be different buffers, as "z" is written/, { z: y });
  const half = device.createBuffer(1024);
  refused(/"x" to start at a multiple of \d+ bytes but got 2/, {
    x: device.dtypes.has("f16")
      ? { buffer: half, dtype: "f16", offset: 1, size: 12 }
      : { buffer: half, dtype: "f32", offset: 0.5, size: 12 },
  });
});

await onEachDevice("launch() takes u32 for i32 and leaves the size of * open", (device) => {
  const taken = kernel<{ rows: number }>({
    name: "taken",
    bindings: { ids: { read: "rows", dtype: "i32" }, y: { write: "*" } },
    params: { rows: "u32" },
    gpu: () => ({ wgsl: "", workgroups: 0 }),
    cpu: () => {},
  });
  for (const dtype of ["i32", "u32"] as const) {
    device.launch(taken, { ids: bind(device, 3, dtype), y: bind(device, 7) }, { rows: 3 });
  }
});
