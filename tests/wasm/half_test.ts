import assert from "node:assert/strict";
import { ThreadPool } from "../../src/device/cpu/threads.ts";
import { Arena, random } from "./helpers.ts";

const pool = ThreadPool.start({ threads: 1 });

/** Converts with a WASM export, in pieces whose ends are not multiples of 8. */
function convert(name: string, bits: Uint16Array | Uint32Array): Arena & { y: number } {
  const arena = new Arena(pool);
  const x = arena.alloc(bits.length), y = arena.alloc(bits.length);
  const { buffer } = pool.memory;
  const Bits = bits.constructor as Uint16ArrayConstructor;
  new Bits(buffer as ArrayBuffer, x, bits.length).set(bits);
  pool.run(name, bits.length, 1003, x, y);
  return Object.assign(arena, { y });
}

Deno.test("f16_to_f32() gives the value of each of the 65,536 f16", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const expected = new Float16Array(bits.buffer);
  const arena = convert("f16_to_f32", bits);
  const found = arena.floats(arena.y, bits.length);
  for (let i = 0; i < bits.length; i++) {
    assert.ok(Object.is(found[i], expected[i]), `0x${i.toString(16)}: ${found[i]}`);
  }
});

Deno.test("f32_to_f16() rounds to nearest even, subnormal, infinite and NaN included", () => {
  // Every f16, what lies halfway to the next, and the f32 on both sides of that; then any bits.
  const halves = new Float16Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
  const bits = new Uint32Array(Float32Array.from(halves).buffer);
  const next = random(1);
  const all = Uint32Array.from([
    ...bits,
    ...Array.from(bits, (b) => b + 0x1000),
    ...Array.from(bits, (b) => b + 0xfff),
    ...Array.from(bits, (b) => b + 0x1001),
    ...Array.from({ length: 100_000 }, () => (next() + 1) * 2 ** 31),
    // From half of the smallest subnormal to the smallest normal f16.
    ...Array.from({ length: 100_000 }, () => 0x33000000 - 5 + Math.floor((next() + 1) * 0x2c00000)),
  ]);
  const expected = Float16Array.from(new Float32Array(all.buffer));
  const arena = convert("f32_to_f16", all);
  const found = new Float16Array(pool.memory.buffer as unknown as ArrayBuffer, arena.y, all.length);
  for (let i = 0; i < all.length; i++) {
    assert.ok(
      Object.is(found[i], expected[i]),
      `0x${all[i].toString(16)}: expected ${expected[i]} but got ${found[i]}`,
    );
  }
});
