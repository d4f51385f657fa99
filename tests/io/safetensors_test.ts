import assert from "node:assert/strict";
import { join } from "node:path";
import { FileFormatError } from "../../src/io/errors.ts";
import {
  bfloat16ToFloat32,
  encodeSafetensors,
  float32ToBfloat16,
  SafetensorsFile,
  type TensorEntry,
  writeSafetensors,
} from "../../src/io/safetensors.ts";

// Written by Python's safetensors 0.8.0 (HuggingFace): save({"b": int32 [1, -2], "a": float32 2x2
// [[1, 2], [3, 4]], "s": float32 scalar 0.5, "h": float16 [1.5, -2]}, metadata={"k": "v"}).
import { HUGGING_FACE_FILE } from "./safetensors_file.ts";

/** A file with any header at all, true or not. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const f32 = (shape: unknown, begin: unknown, end: unknown) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

Deno.test("SafetensorsFile reads tensors when HuggingFace's library wrote them", async () => {
  using file = await SafetensorsFile.open(Uint8Array.fromBase64(HUGGING_FACE_FILE));
  assert.deepEqual({ ...file.metadata }, { k: "v" });
  assert.deepEqual([...file.tensors.keys()].sort(), ["a", "b", "h", "s"]);
  assert.deepEqual([file.info("a").shape, [...await file.read("a")]], [[2, 2], [1, 2, 3, 4]]);
  assert.deepEqual([file.info("b").dtype, [...await file.read("b")]], ["I32", [1, -2]]);
  assert.deepEqual([file.info("s").shape, [...await file.read("s")]], [[], [0.5]]);
  assert.deepEqual([...await file.readFloat32("h")], [1.5, -2]);
  await assert.rejects(file.readFloat32("b"), /expected a float in tensor "b" but got I32/);
  await assert.rejects(file.read("c"), /expected the name of a tensor but got "c"/);
});

Deno.test("writeSafetensors() and SafetensorsFile agree when every type is used", async () => {
  const entries: TensorEntry[] = [
    { name: "10", dtype: "F64", shape: [1], data: Float64Array.of(Math.PI) },
    { name: "2", dtype: "F32", shape: [2], data: Float32Array.of(1.5, -0) },
    { name: "f16", dtype: "F16", shape: [3], data: Float16Array.of(1, 2, 3) },
    { name: "bits", dtype: "F16", shape: [1], data: Uint16Array.of(0x3c00) },
    { name: "bf16", dtype: "BF16", shape: [2], data: float32ToBfloat16(Float32Array.of(1, -2)) },
    { name: "i64", dtype: "I64", shape: [1], data: BigInt64Array.of(-1n) },
    { name: "u64", dtype: "U64", shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) },
    { name: "i32", dtype: "I32", shape: [1, 1], data: Int32Array.of(-7) },
    { name: "u32", dtype: "U32", shape: [], data: Uint32Array.of(4294967295) },
    { name: "i16", dtype: "I16", shape: [1], data: Int16Array.of(-3) },
    { name: "u16", dtype: "U16", shape: [1], data: Uint16Array.of(65535) },
    { name: "i8", dtype: "I8", shape: [3], data: Int8Array.of(-1, 0, 1) },
    { name: "u8", dtype: "U8", shape: [0], data: new Uint8Array(0) },
    { name: "bool", dtype: "BOOL", shape: [1], data: () => Promise.resolve(Uint8Array.of(1)) },
    { name: "__proto__", dtype: "U8", shape: [1], data: () => Uint8Array.of(9) },
  ];
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "all.safetensors");
    await writeSafetensors(path, entries, { note: '\u2028 " ü' });
    assert.deepEqual(
      await Deno.readFile(path),
      await encodeSafetensors(entries, { note: '\u2028 " ü' }),
    );
    using file = await SafetensorsFile.open(path);
    assert.equal(file.dataOffset % 8, 0);
    assert.equal(file.metadata.note, '\u2028 " ü');
    assert.deepEqual([...file.tensors.keys()], entries.map((entry) => entry.name));
    for (const entry of entries) {
      const wanted = typeof entry.data === "function" ? await entry.data() : entry.data;
      const data = await file.read(entry.name);
      assert.deepEqual(file.info(entry.name).shape, entry.shape);
      assert.deepEqual(new Uint8Array(data.buffer), new Uint8Array(wanted.buffer), entry.name);
    }
    assert.deepEqual([...await file.readFloat32("bf16")], [1, -2]);
    assert.deepEqual([...await file.readFloat32("bits")], [1]);
    assert.deepEqual([...await file.readFloat32("10")], [Math.fround(Math.PI)]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const a = f32([2], 0, 8);
const LIES: [string, Uint8Array, RegExp][] = [
  ["is empty", new Uint8Array(0), /of 8 bytes or more but got 0 \(at byte 0\)/],
  [
    "claims a huge header",
    Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 127, 123, 125),
    /expected a header of/,
  ],
  ["has a header that is not JSON", fileOf("{nonsense", 0), /a header of JSON: .*\(at byte 8\)/],
  ["has a header that is not UTF-8", fileOf("{}", 0).with(8, 0xff), /a header of JSON/],
  ["has a header that is a list", fileOf([], 0), /that is a JSON object/],
  ["has metadata that is not text", fileOf({ __metadata__: { a: 1 } }, 0), /object of strings/],
  ["has a tensor that is null", fileOf({ a: null }, 0), /"a": expected an object but got null/],
  [
    "has an unknown type",
    fileOf({ a: { ...a, dtype: "toString" } }, 8),
    /a known type but got "toString"/,
  ],
  [
    "has a negative length",
    fileOf({ a: f32([-2], 0, 8) }, 8),
    /a shape of integers but got \[-2\]/,
  ],
  ["has a fractional length", fileOf({ a: f32([0.5], 0, 2) }, 2), /a shape of integers/],
  ["has a shape that is text", fileOf({ a: f32("22", 0, 8) }, 8), /a shape of integers/],
  [
    "has a shape beyond counting",
    fileOf({ a: f32([1e15, 1e15], 0, 8) }, 8),
    /expected 4e\+30 bytes/,
  ],
  ["has one offset", fileOf({ a: { ...a, data_offsets: [0] } }, 8), /two integers as data_offsets/],
  [
    "has offsets that fit no shape",
    fileOf({ a: f32([3], 0, 8) }, 8),
    /expected 12 bytes .* but got 8/,
  ],
  [
    "has offsets that run backwards",
    fileOf({ a: f32([2], 8, 0) }, 8),
    /expected 8 bytes .* but got -8/,
  ],
  [
    "overlaps",
    fileOf({ a, b: f32([2], 4, 12) }, 12),
    /"b": expected it to begin at byte 124, .* but got 120/,
  ],
  [
    "has a gap",
    fileOf({ a, b: f32([1], 12, 16) }, 16),
    /"b": expected it to begin at byte 125, .* but got 129/,
  ],
  ["is cut short", fileOf({ a }, 7), /cut short: expected \d+ bytes/],
  ["has bytes left over", fileOf({ a }, 9), /but got 1 bytes after the last tensor/],
];
for (const [what, bytes, message] of LIES) {
  Deno.test(`SafetensorsFile.open() throws when the file ${what}`, async () => {
    await assert.rejects(SafetensorsFile.open(bytes), (error: Error) => {
      assert(error instanceof FileFormatError, String(error));
      assert.match(error.message, message);
      assert.match(error.message, /^bytes in memory: .*\(at byte \d+\)$/);
      return true;
    });
  });
}

Deno.test("encodeSafetensors() throws when an entry contradicts itself", async () => {
  const refused = async (entry: Partial<TensorEntry>, message: RegExp) => {
    const base: TensorEntry = { name: "a", dtype: "F32", shape: [2], data: new Float32Array(2) };
    await assert.rejects(
      encodeSafetensors([{ ...base, ...entry }, { ...base, name: "z" }]),
      message,
    );
  };
  await refused({ shape: [3] }, /expected 12 bytes for "a", F32 of shape \[3\], but got 8/);
  await refused(
    { data: new Int32Array(2) },
    /expected a Float32Array for .* but got \[object Int32Array\]/,
  );
  await refused({ name: "z" }, /different names, .* but got "z"/);
  await refused({ name: "__metadata__" }, /none "__metadata__"/);
  await refused({ shape: [-2, -1] }, /expected integers as the shape/);
});

Deno.test("float32ToBfloat16() rounds to nearest even and keeps NaN when narrowing", () => {
  const values = Float32Array.of(1, 1.00390625, 1.01171875, 3.4e38, -Infinity, NaN, 0.1);
  const back = bfloat16ToFloat32(float32ToBfloat16(values));
  assert.deepEqual([...back], [1, 1, 1.015625, Infinity, -Infinity, NaN, 0.10009765625]);
});
