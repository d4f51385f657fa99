import assert from "node:assert/strict";
import { join } from "node:path";
import { FileFormatError } from "../../src/io/errors.ts";
import { encodeNpy, readNpy, readNpyHeader, writeNpy } from "../../src/io/npy.ts";
import { NUMPY_FILES } from "./numpy_files.ts";

const numpyFile = (name: string) =>
  Uint8Array.from(atob(NUMPY_FILES[name]), (c) => c.charCodeAt(0));

for (const dtype of ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]) {
  Deno.test(`readNpy() and encodeNpy() agree with numpy when the type is ${dtype}`, async () => {
    const bytes = numpyFile(dtype);
    const array = await readNpy(bytes);
    assert.equal(array.dtype, dtype);
    assert.deepEqual(array.shape, [2, 3]);
    assert.deepEqual(Array.from(array.data, Number), [0, 1, 2, 3, 100, 7]);
    assert.deepEqual(encodeNpy(array.data, [2, 3]).toHex(), bytes.toHex());
  });
}

for (const name of ["v2", "v3"]) {
  Deno.test(`readNpy() reads numpy's format when the version is ${name}`, async () => {
    const { dtype, shape, data } = await readNpy(numpyFile(name));
    assert.deepEqual([dtype, shape, [...data]], ["u2", [5], [0, 1, 2, 3, 4]]);
  });
}

Deno.test("readNpy() reads a single number and an empty array when numpy wrote them", async () => {
  const scalar = await readNpy(numpyFile("scalar"));
  assert.deepEqual([scalar.shape, [...scalar.data]], [[], [2.5]]);
  const empty = await readNpy(numpyFile("empty"));
  assert.deepEqual([empty.shape, empty.data.length], [[0, 3], 0]);
});

const REFUSED: Record<string, RegExp> = {
  fortran: /expected C order but got Fortran order/,
  big: /big-endian/,
  object: /Python objects/,
  struct: /structured type/,
  complex: /expected one of u1.* but got '<c8'/,
  bool: /expected one of u1.* but got '\|b1'/,
};
for (const [name, message] of Object.entries(REFUSED)) {
  Deno.test(`readNpy() throws when numpy's file is ${name}`, async () => {
    await assert.rejects(readNpy(numpyFile(name)), (error: FileFormatError) => {
      assert(error instanceof FileFormatError);
      assert.equal(error.offset, 10);
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("readNpy() throws when the file is cut short anywhere", async () => {
  const bytes = numpyFile("u2");
  for (let length = 0; length < bytes.length; length++) {
    await assert.rejects(readNpy(bytes.subarray(0, length)), FileFormatError);
  }
});

Deno.test("readNpy() allocates nothing when the header claims more than the file has", async () => {
  const claims = (shape: string) => {
    const dict = `{'descr': '<u2', 'fortran_order': False, 'shape': (${shape},), }`.padEnd(117) +
      "\n";
    const head = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, dict.length, 0];
    return Uint8Array.from([...head, ...new TextEncoder().encode(dict), 0, 0]);
  };
  await assert.rejects(readNpy(claims("1000000000000")), /expected 2000000000000 bytes of data/);
  await assert.rejects(readNpy(claims("9".repeat(30))), /expected a shape/);
  await assert.rejects(
    readNpy(claims("4294967296, 4294967296, 4294967296")),
    /at most 2\^53 elements/,
  );
  assert.deepEqual((await readNpy(claims("1"))).shape, [1]);
});

Deno.test("readNpyHeader() tells where the data lies when a file was written", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "tokens.npy");
    await writeNpy(path, Uint16Array.of(5, 6, 7));
    const header = await readNpyHeader(path);
    assert.deepEqual(
      [header.dtype, header.shape, header.count, header.dataOffset],
      ["u2", [3], 3, 128],
    );
    assert.deepEqual([...(await readNpy(path)).data], [5, 6, 7]);
    assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name), ["tokens.npy"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("encodeNpy() throws when shape and data do not fit", () => {
  assert.throws(
    () => encodeNpy(new Float32Array(5), [2, 3]),
    /expected 6 elements for shape \(2, 3\) but got 5/,
  );
});
