import assert from "node:assert/strict";
import { rotary, type RotaryOptions, sinusoid, sinusoidTable } from "../../src/ops/rotary.ts";
import { tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import { assertClose } from "../support/compare.ts";
import { noise, onRowDevices } from "./row_devices.ts";

function reference(
  x: ArrayLike<number>,
  [batch, length, heads, width]: number[],
  { theta = 10000, position: first = 0, layout = "interleaved" }: RotaryOptions,
  direction = 1,
): Float64Array {
  const y = new Float64Array(x.length);
  for (let row = 0; row < batch * length * heads; row++) {
    const position = first + Math.floor(row / heads) % length;
    for (let i = 0; i < width / 2; i++) {
      const angle = direction * position * theta ** (-2 * i / width);
      const a = row * width + (layout === "interleaved" ? 2 * i : i);
      const b = layout === "interleaved" ? a + 1 : a + width / 2;
      y[a] = x[a] * Math.cos(angle) - x[b] * Math.sin(angle);
      y[b] = x[a] * Math.sin(angle) + x[b] * Math.cos(angle);
    }
  }
  return y;
}

await onRowDevices("rotary() agrees with float64 in both layouts", async (device) => {
  for (const width of [2, 6, 8, 12, 64]) {
    for (const layout of ["interleaved", "half-split"] as const) {
      for (const [theta, position] of [[10000, 0], [500000, 3000]]) {
        using _scope = new Scope();
        const shape = [2, 5, 3, width], size = 30 * width;
        const x = noise(size, 1), dy = noise(size, 2), options = { theta, position, layout };
        const input = tensor(x, { device, shape });
        input.requiresGrad = true;
        const y = rotary(input, options);
        y.backward(tensor(dy, { device, shape }));
        const what = `${width} ${layout} from ${position}`;
        assertClose(await y.data(), reference(x, shape, options), 1e-6, what);
        const gradient = reference(dy, shape, options, -1);
        assertClose(await input.grad!.data(), gradient, 1e-6, `gradient of ${what}`);
      }
    }
  }
});

await onRowDevices(
  "rotary() turns by scaled frequencies, each scaling by a table of its own",
  async (device) => {
    const shape = [1, 9, 2, 16], x = noise(288, 1), first = 40;
    const llama3 = (factor: number) => {
      const [lowFrequencyFactor, highFrequencyFactor, originalContextSize] = [1, 4, 64];
      return {
        ...{ type: "llama3" as const, factor },
        ...{ lowFrequencyFactor, highFrequencyFactor, originalContextSize },
      };
    };
    /** Radians a position of pair i, by the wavelength as the Llama 3.1 code has it. */
    const expectedFrequency = (i: number, scaling: RotaryOptions["scaling"]): number => {
      const plain = 10000 ** (-2 * i / 16);
      if (!scaling) return plain;
      if (scaling.type === "linear") return plain / scaling.factor;
      const wavelength = 2 * Math.PI / plain;
      if (wavelength < 64 / 4) return plain;
      if (wavelength > 64 / 1) return plain / scaling.factor;
      const smooth = (64 / wavelength - 1) / (4 - 1);
      return (1 - smooth) * plain / scaling.factor + smooth * plain;
    };
    for (const scaling of [null, { type: "linear" as const, factor: 3 }, llama3(8), llama3(32)]) {
      using _scope = new Scope();
      const expected = new Float64Array(x.length);
      for (let at = 0; at < x.length; at += 2) {
        const position = first + Math.floor(at / 32);
        const angle = position * expectedFrequency(at % 16 / 2, scaling);
        expected[at] = x[at] * Math.cos(angle) - x[at + 1] * Math.sin(angle);
        expected[at + 1] = x[at] * Math.sin(angle) + x[at + 1] * Math.cos(angle);
      }
      const y = rotary(tensor(x, { device, shape }), { position: first, scaling });
      assertClose(await y.data(), expected, 1e-6, JSON.stringify(scaling));
    }
  },
);

await onRowDevices("rotary() turns each row from its own position", async (device) => {
  using _scope = new Scope();
  const [length, heads, width] = [2, 3, 12], size = length * heads * width;
  const firsts = Int32Array.of(70, 0, 9, 33), batch = firsts.length;
  const shape = [batch, length, heads, width];
  const x = noise(batch * size, 1), dy = noise(batch * size, 2);
  for (const layout of ["interleaved", "half-split"] as const) {
    const input = tensor(x, { device, shape });
    input.requiresGrad = true;
    const y = rotary(input, { position: 70, positions: tensor(firsts, { device }), layout });
    y.backward(tensor(dy, { device, shape }));
    const rows = (z: Float32Array, direction: number) =>
      [...firsts].flatMap((position, b) => [
        ...reference(z.subarray(b * size, (b + 1) * size), [1, length, heads, width], {
          position,
          layout,
        }, direction),
      ]);
    assertClose(await y.data(), rows(x, 1), 1e-6, layout);
    assertClose(await input.grad!.data(), rows(dy, -1), 1e-6, `gradient, ${layout}`);
    // The same where each time step has its position.
    input.grad = null;
    const places = [...firsts].flatMap((first) => [first, first + 1]);
    const positions = tensor(Int32Array.from(places), { device, shape: [batch, length] });
    const z = rotary(input, { position: 70, positions, layout });
    z.backward(tensor(dy, { device, shape }));
    assertClose(await z.data(), await y.data(), 0, layout);
    assertClose(await input.grad!.data(), rows(dy, -1), 1e-6, `gradient, ${layout}`);
  }
});

await onRowDevices("rotary() says when a position is beyond the table", async (device) => {
  using _scope = new Scope();
  const x = tensor(new Float32Array(12).fill(1), { device, shape: [3, 1, 1, 4] });
  const turned = () =>
    rotary(x, { position: 9, positions: tensor(Int32Array.of(9, 5000, -1), { device }) });
  if (device.kind === "cpu") {
    assert.throws(turned, {
      name: "RangeError",
      message: "rotary: expected 1 positions within 64 but got those from 5000 on in row 1",
    });
  } else {
    const y = [...await turned().data()];
    assert.deepEqual(y.map(Number.isNaN), y.map((_, i) => i >= 4));
  }
});

await onRowDevices("rotary() keeps one table when positions go on", async (device) => {
  const live: number[] = [];
  for (let position = 0; position < 40; position += 10) {
    using _scope = new Scope();
    rotary(tensor(noise(16, position), { device, shape: [1, 1, 1, 16] }), { theta: 123, position });
    live.push(device.memory().live);
  }
  await device.synchronize();
  assert.deepEqual(live.slice(1), new Array(3).fill(live[0]));
});

await onRowDevices("rotary() takes f16 and empty tensors", async (device) => {
  using _scope = new Scope();
  const none = rotary(tensor(new Float32Array(0), { device, shape: [0, 3, 2, 4] }));
  assert.deepEqual(none.shape, [0, 3, 2, 4]);
  assert.equal((await none.data()).length, 0);
  if (!device.dtypes.has("f16")) return;
  for (const width of [6, 8]) {
    const shape = [1, 9, 1, width], x = Float16Array.from(noise(9 * width, 1));
    const y = rotary(tensor(x, { device, shape }));
    assertClose(await y.data(), reference(x, shape, {}), 6e-4);
  }
});

await onRowDevices("rotary() may turn nothing", async (device) => {
  using _scope = new Scope();
  const x = noise(24, 1);
  for (const layout of ["interleaved", "half-split"] as const) {
    const y = rotary(tensor(x, { device, shape: [1, 3, 2, 4] }), { turned: 0, layout });
    assertClose(await y.data(), x, 0);
  }
});

await onRowDevices("rotary() throws when arguments are wrong", (device) => {
  using _scope = new Scope();
  const x = tensor(new Float32Array(6), { device, shape: [1, 2, 1, 3] });
  assert.throws(() => rotary(x), {
    name: "RangeError",
    message: "rotary: expected heads of even width but got x of shape [1, 2, 1, 3]",
  });
  const even = tensor(new Float32Array(8), { device, shape: [1, 2, 1, 4] });
  assert.throws(() => rotary(even, { position: -1 }), { name: "RangeError" });
  assert.throws(() => rotary(even, { positions: tensor([1, 2], { device, dtype: "i32" }) }), {
    name: "TypeError",
    message: /expected positions \[1\] or \[1, 2\] of i32/,
  });
  assert.throws(() => rotary(even, { layout: "half" as "half-split" }), /rotary: expected layout/);
  assert.throws(() => rotary(even, { theta: 0 }), { name: "RangeError" });
  assert.throws(() => rotary(tensor([1, 2], { device })), { name: "TypeError" });
  return Promise.resolve();
});

await onRowDevices(
  "sinusoid() is cosine and sine when columns are even and odd",
  async (device) => {
    using table = sinusoid(3, 4, { theta: 100, device });
    const expected = [0, 1, 2].flatMap((p) =>
      [p, p / 10].flatMap((angle) => [Math.cos(angle), Math.sin(angle)])
    );
    assert.deepEqual(table.shape, [3, 4]);
    assertClose(await table.data(), expected, 1e-7);
    assert.throws(() => sinusoidTable(3, 5), { name: "RangeError" });
  },
);
