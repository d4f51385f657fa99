// LLaMA 3.1's frequencies, held to the rule as Meta's code states it, in wavelengths.
import assert from "node:assert/strict";
import { rotaryFrequencies } from "../../src/ops/rotary.ts";

const LLAMA31 = {
  type: "llama3",
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalContextSize: 8192,
} as const;

Deno.test("rotaryFrequencies() scales as LLaMA 3.1 does", () => {
  const plain = rotaryFrequencies(128, 500_000);
  const scaled = rotaryFrequencies(128, 500_000, LLAMA31);
  let between = 0;
  plain.forEach((frequency, i) => {
    const wavelength = 2 * Math.PI / frequency;
    let expected: number;
    if (wavelength < 8192 / 4) expected = frequency;
    else if (wavelength > 8192 / 1) expected = frequency / 8;
    else {
      const smooth = (8192 / wavelength - 1) / (4 - 1);
      expected = (1 - smooth) * frequency / 8 + smooth * frequency;
      between++;
    }
    assert.ok(Math.abs(scaled[i] / expected - 1) < 1e-12, `pair ${i}`);
  });
  assert.equal(scaled[0], 1);
  assert.ok(between > 3);
});

Deno.test("rotaryFrequencies() refuses numbers that make no sense", () => {
  assert.throws(() => rotaryFrequencies(3, 10), RangeError);
  assert.throws(() => rotaryFrequencies(4, 0), RangeError);
  assert.throws(() => rotaryFrequencies(4, 10, { type: "linear", factor: 0 }), /"factor":0/);
  const swapped = { ...LLAMA31, lowFrequencyFactor: 4, highFrequencyFactor: 1 };
  assert.throws(() => rotaryFrequencies(4, 10, swapped), /the low frequency factor below the high/);
});

Deno.test("rotaryFrequencies() refuses a scaling whose low frequency factor is not below the high one", () => {
  const scaling = { type: "llama3", factor: 8, originalContextSize: 64 } as const;
  for (const [low, high] of [[4, 4], [4, 1]]) {
    const factors = { lowFrequencyFactor: low, highFrequencyFactor: high };
    assert.throws(() => rotaryFrequencies(8, 10_000, { ...scaling, ...factors }), RangeError);
  }
});
