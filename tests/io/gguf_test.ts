// GGUF files; what llama.cpp itself makes of them is held by `deno task proof:gguf`.
import assert from "node:assert/strict";
import { join } from "node:path";
import { FileFormatError } from "../../src/io/errors.ts";
import { decodeGgml, encodeGgml } from "../../src/io/ggml_blocks.ts";
import { encodeGguf, GgufFile, type GgufValue, writeGguf } from "../../src/io/gguf.ts";
import { GGML_BLOCKS, ggmlNumbers } from "./ggml_numbers.ts";

const numbers = ggmlNumbers();

for (const type of ["Q8_0", "Q4_0"] as const) {
  Deno.test(`encodeGgml() gives ggml's own bytes of ${type}`, () => {
    assert.equal(encodeGgml(type, numbers).toBase64(), GGML_BLOCKS[type].stored);
  });
}

for (const [type, { stored, sha256 }] of Object.entries(GGML_BLOCKS)) {
  Deno.test(`decodeGgml() gives ggml's own numbers of ${type}`, async () => {
    const values = decodeGgml(type as keyof typeof GGML_BLOCKS, Uint8Array.fromBase64(stored));
    const digest = await crypto.subtle.digest("SHA-256", values as Float32Array<ArrayBuffer>);
    assert.equal(new Uint8Array(digest).toHex(), sha256);
  });
}

const METADATA: readonly (readonly [string, GgufValue])[] = [
  ["general.architecture", { type: "string", value: "é🦕" }],
  ["u8", { type: "u8", value: 255 }],
  ["i8", { type: "i8", value: -128 }],
  ["u16", { type: "u16", value: 65535 }],
  ["i16", { type: "i16", value: -32768 }],
  ["u32", { type: "u32", value: 4294967295 }],
  ["i32", { type: "i32", value: -2147483648 }],
  ["f32", { type: "f32", value: 0.5 }],
  ["f64", { type: "f64", value: Math.PI }],
  ["u64", { type: "u64", value: 2n ** 64n - 1n }],
  ["i64", { type: "i64", value: -(2n ** 63n) }],
  ["bool", { type: "bool", value: true }],
  ["texts", { type: "array", of: "string", value: ["", "b"] }],
  ["floats", { type: "array", of: "f32", value: Float32Array.of(1, -2) }],
  ["flags", { type: "array", of: "bool", value: [true, false] }],
  ["longs", { type: "array", of: "i64", value: BigInt64Array.of(-5n) }],
  ["nested", {
    type: "array",
    of: "array",
    value: [{ type: "array", of: "u8", value: Uint8Array.of(1) }],
  }],
];

Deno.test("GgufFile reads what writeGguf() wrote: values and tensors of every type", async () => {
  const folder = await Deno.makeTempDir({ prefix: "dinograd" });
  try {
    for (const alignment of [undefined, 8, 64]) {
      const path = join(folder, "all.gguf");
      const aligned: (readonly [string, GgufValue])[] = alignment === undefined
        ? []
        : [["general.alignment", { type: "u32", value: alignment }]];
      const types = ["F32", "F16", "BF16", "Q8_0", "Q4_0"] as const;
      await writeGguf(path, [...METADATA, ...aligned], [
        ...types.map((type) => ({ name: type, type, shape: [8, 64], data: () => numbers })),
        { name: "odd", type: "F32", shape: [3], data: Float32Array.of(1, 2, 3) },
        { name: "raw", type: "Q8_0", shape: [32], data: encodeGgml("Q8_0", numbers.slice(0, 32)) },
        { name: "none", type: "F16", shape: [0, 2], data: new Float32Array(0) },
      ]);
      using file = await GgufFile.open(path);
      assert.deepEqual([...file.metadata], [...METADATA, ...aligned]);
      assert.deepEqual(file.info("F16").shape, [8, 64]);
      for (const { offset } of file.tensors.values()) assert.equal(offset % (alignment ?? 32), 0);
      assert.deepEqual(await file.readFloat32("F32"), numbers);
      assert.deepEqual(await file.readFloat32("F16"), Float32Array.from(new Float16Array(numbers)));
      for (const type of ["BF16", "Q8_0", "Q4_0"] as const) {
        assert.deepEqual(await file.readFloat32(type), decodeGgml(type, encodeGgml(type, numbers)));
      }
      assert.deepEqual([...await file.readFloat32("odd")], [1, 2, 3]);
      assert.deepEqual(
        await file.readFloat32("raw"),
        (await file.readFloat32("Q8_0")).slice(0, 32),
      );
      await assert.rejects(file.read("missing"), /expected the name of a tensor but got "missing"/);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("BF16 rounds to nearest even and keeps what is no number", () => {
  const bits = (x: number) =>
    new Uint16Array(encodeGgml("BF16", Float32Array.of(x)).buffer)[0]!.toString(16);
  assert.deepEqual([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -Infinity].map(bits), [
    ...["3f80", "3f80", "3f82", "ff80"],
  ]);
  assert.ok(Number.isNaN(decodeGgml("BF16", encodeGgml("BF16", Float32Array.of(NaN)))[0]));
});

Deno.test("GgufFile refuses what is wrong, and names file and byte", async () => {
  const good = await encodeGguf(METADATA, [
    { name: "a", type: "F32", shape: [2, 3], data: new Float32Array(6) },
    { name: "b", type: "Q8_0", shape: [32], data: new Float32Array(32) },
  ]);
  const find = (text: string) => new TextDecoder("latin1").decode(good).indexOf(text);
  const changed = (at: number, ...bytes: number[]): Uint8Array => {
    const copy = good.slice();
    copy.set(bytes, at);
    return copy;
  };
  const tensorA = find("a\x02\0\0\0"); // its name, then its axes, their lengths, its type and its offset
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(5), /expected a GGUF file of 24 bytes or more but got 5 \(at byte 0\)$/],
    [changed(0, 0x58), /expected a GGUF file but got another beginning \(at byte 0\)$/],
    [changed(4, 1), /expected GGUF version 2 or 3 but got 1 \(at byte 4\)$/],
    [changed(8, 255, 255), /expected 65535 tensors but got \d+ bytes \(at byte 8\)$/],
    [
      changed(16, ...Array(8).fill(255)),
      /expected a number of values below 2\^53 but got 18446744073709551615/,
    ],
    [changed(24, 255, 255, 255), /expected 16777215 bytes of a text but got \d+ bytes/],
    [changed(tensorA + 1, 9), /tensor "a": expected at most 4 axes but got 9/],
    [changed(tensorA + 5, 9), /tensor "b": expected it after the one before but got an overlap/],
    [changed(tensorA + 21, 99), /tensor "a": expected one of F32, F16, .* but got type 99/],
    [changed(tensorA + 21, 8), /tensor "a": expected a shape for Q8_0 but got \[2,3\]/],
    [changed(tensorA + 25, 1), /tensor "a": expected an offset of a multiple of 32 but got 1/],
    [changed(tensorA + 25, 64), /tensor "a": expected it after the one before but got an overlap/],
    [good.slice(0, -40), /cut short: expected tensor "b" up to byte \d+ but got a file of \d+/],
    [changed(find("texts") + 5, 77), /expected a value of type 0 to 12 but got 77/],
    [changed(find("bool") + 8, 2), /expected a truth value of 0 or 1 but got 2/],
  ];
  for (const [bytes, message] of cases) {
    await assert.rejects(GgufFile.open(bytes), (error) => {
      assert.ok(error instanceof FileFormatError, String(error));
      assert.match(error.message, message);
      assert.match(error.message, /^bytes in memory: .*\(at byte \d+\)$/);
      return true;
    });
  }
});

Deno.test("writeGguf() refuses tensors that fit neither type nor shape", async () => {
  const one = (type: "F32" | "Q8_0", shape: number[], length: number) =>
    encodeGguf([], [{ name: "t", type, shape, data: new Float32Array(length) }]);
  await assert.rejects(
    one("Q8_0", [2, 33], 66),
    /the last a multiple of 32 for Q8_0, but got \[2,33\]/,
  );
  await assert.rejects(one("F32", [2, 2], 5), /expected 16 bytes of F32 for tensor "t" but got 20/);
  const twice = { name: "t", type: "F32", shape: [1], data: new Float32Array(1) } as const;
  await assert.rejects(
    encodeGguf([], [twice, twice]),
    /expected each tensor once but got "t" twice/,
  );
  const alignment: GgufValue = { type: "u32", value: 12 };
  await assert.rejects(
    encodeGguf([["general.alignment", alignment]], []),
    /power of two but got 12/,
  );
});
