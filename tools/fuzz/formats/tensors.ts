/**
 * Files of arrays: safetensors, GGUF, checkpoints, npy.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { MemorySource } from "../../../src/io/byte_source.ts";
import { checkpointPath, loadCheckpoint, saveCheckpoint } from "../../../src/io/checkpoint.ts";
import { encodeGguf, GgufFile } from "../../../src/io/gguf.ts";
import { encodeNpy, readNpy } from "../../../src/io/npy.ts";
import {
  encodeSafetensors,
  SafetensorsFile,
  type TensorEntry,
} from "../../../src/io/safetensors.ts";
import { AT_BYTE, type Format, holds } from "../format.ts";
import { mutateBytes, mutateJsonText } from "../mutations.ts";
import type { Chance } from "../random.ts";

const ENTRIES: readonly TensorEntry[] = [
  { name: "wte.weight", dtype: "F32", shape: [4, 3], data: new Float32Array(12).fill(0.5) },
  { name: "half", dtype: "F16", shape: [2, 0, 3], data: new Float16Array(0) },
  { name: "brain", dtype: "BF16", shape: [5], data: Uint16Array.of(1, 2, 3, 4, 5) },
  { name: "step", dtype: "I64", shape: [], data: BigInt64Array.of(-1n) },
  { name: "7", dtype: "BOOL", shape: [3, 1], data: Uint8Array.of(0, 1, 0) },
];

/** safetensors, whole in memory. */
export const safetensors: Format = {
  name: "safetensors",
  place: AT_BYTE,
  async prepare() {
    const seeds = [
      await encodeSafetensors(ENTRIES, { author: "me", __proto__x: "1" }),
      await encodeSafetensors(ENTRIES.slice(0, 1)),
      await encodeSafetensors([]),
    ];
    return (chance) => {
      const bytes = chance.oneIn(2)
        ? mutateBytes(chance.pick(seeds), chance)
        : withHeader(chance.pick(seeds), chance, mutateJsonText);
      const file = "fuzz.safetensors";
      return {
        bytes: bytes.length,
        file,
        async read() {
          using found = await SafetensorsFile.open(new MemorySource(bytes, file));
          for (const [name, { offset, byteLength, count, shape }] of found.tensors) {
            holds(offset >= 8 && offset + byteLength <= bytes.length, `${name} is out of the file`);
            holds(shape.reduce((a, b) => a * b, 1) === count, `${name} has ${count} of [${shape}]`);
            const data = await found.read(name);
            holds(data.length === count, `${name} has ${data.length} numbers`);
          }
        },
      };
    };
  },
};

/** GGUF, whole in memory. */
export const gguf: Format = {
  name: "gguf",
  place: AT_BYTE,
  async prepare() {
    const numbers = new Float32Array(64).fill(0.5);
    const seeds = [
      await encodeGguf([
        ["general.architecture", { type: "string", value: "llama" }],
        ["general.alignment", { type: "u32", value: 64 }],
        ["flag", { type: "bool", value: true }],
        ["large", { type: "u64", value: 2n ** 60n }],
        ["texts", { type: "array", of: "string", value: ["a", "é", ""] }],
        ["scores", { type: "array", of: "f32", value: Float32Array.of(1, 2) }],
        ["nested", {
          type: "array",
          of: "array",
          value: [{ type: "array", of: "bool", value: [true] }],
        }],
      ], [
        { name: "a", type: "F32", shape: [8, 8], data: numbers },
        { name: "b", type: "Q8_0", shape: [2, 32], data: numbers },
        { name: "c", type: "Q4_0", shape: [64], data: numbers },
        { name: "d", type: "BF16", shape: [4, 4, 4], data: numbers },
      ]),
      await encodeGguf([], []),
    ];
    return (chance) => {
      const bytes = mutateBytes(chance.pick(seeds), chance);
      const file = "fuzz.gguf";
      return {
        bytes: bytes.length,
        file,
        async read() {
          using found = await GgufFile.open(new MemorySource(bytes, file));
          for (const [name, { offset, byteLength, count, shape }] of found.tensors) {
            holds(offset + byteLength <= bytes.length, `${name} is out of the file`);
            holds(shape.reduce((a, b) => a * b, 1) === count, `${name} has ${count} of [${shape}]`);
            const data = await found.readFloat32(name);
            holds(data.length === count, `${name} has ${data.length} numbers`);
          }
        },
      };
    };
  },
};

/** Checkpoints of runs, most with a digest that is right. */
export const checkpoint: Format = {
  name: "checkpoint",
  place: AT_BYTE,
  async prepare(folder) {
    const path = await saveCheckpoint(folder, 7, {
      state: { loader: { shard: 1, position: 12 }, random: [1, 2], extra: null },
      tensors: ENTRIES,
    });
    const seed = await Deno.readFile(path);
    const file = join(folder, "fuzz.safetensors");
    return (chance) => {
      let bytes = chance.oneIn(4)
        ? mutateBytes(seed, chance)
        : withHeader(seed, chance, mutateCheckpointHeader);
      if (!chance.oneIn(5)) bytes = withDigest(bytes);
      return {
        bytes: bytes.length,
        file,
        async read() {
          await Deno.writeFile(file, bytes);
          const { step, state, tensors } = await loadCheckpoint(file);
          holds(checkpointPath(folder, step) !== "" && state !== undefined, "has no state");
          holds(tensors.size >= 0, "has no tensors");
        },
      };
    };
  },
};

/** The metadata's texts are JSON, too. */
function mutateCheckpointHeader(header: Record<string, unknown>, chance: Chance): string {
  if (chance.oneIn(3)) return mutateJsonText(header, chance);
  const metadata = { ...header.__metadata__ as Record<string, string> };
  const state = mutateJsonText(JSON.parse(metadata.state), chance);
  if (chance.oneIn(2)) metadata.state = state;
  else metadata[chance.pick(["step", "format_version", "format"])] = state;
  if (chance.oneIn(6)) delete metadata[chance.pick(["step", "state", "sha256"])];
  return JSON.stringify({ ...header, __metadata__: metadata });
}

/** The file with its digest computed anew, where it has a place for one. */
function withDigest(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const text = new TextDecoder("latin1").decode(copy.subarray(0, 1024));
  const at = text.search(/"sha256":"[0-9a-f]{64}"/) + 10;
  if (at < 10) return copy;
  copy.fill(0x30, at, at + 64);
  const digest = createHash("sha256").update(copy).digest("hex");
  copy.set(new TextEncoder().encode(digest), at);
  return copy;
}

/** The file with a header that is changed as JSON, its length right. */
function withHeader(
  file: Uint8Array,
  chance: Chance,
  change: (header: Record<string, unknown>, chance: Chance) => string,
): Uint8Array {
  const end = 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, end)));
  const json = new TextEncoder().encode(change(header, chance));
  const bytes = new Uint8Array(8 + json.length + file.length - end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(file.subarray(end), 8 + json.length);
  return bytes;
}

/** NumPy's files. */
export const npy: Format = {
  name: "npy",
  place: AT_BYTE,
  prepare() {
    const seeds = [
      encodeNpy(Uint16Array.of(1, 2, 3, 50256)),
      encodeNpy(new Float32Array(24), [2, 3, 4]),
      encodeNpy(new Float64Array(1), []),
      encodeNpy(new Int8Array(0), [3, 0]),
    ];
    return Promise.resolve((chance) => {
      const seed = chance.pick(seeds);
      const bytes = mutateBytes(chance.oneIn(2) ? seed : withDict(seed, chance), chance);
      const file = "fuzz.npy";
      return {
        bytes: bytes.length,
        file,
        async read() {
          const { shape, data } = await readNpy(new MemorySource(bytes, file));
          holds(data.byteLength <= bytes.length, "has more data than the file");
          holds(
            shape.reduce((a, b) => a * b, 1) === data.length,
            `has ${data.length} of [${shape}]`,
          );
        },
      };
    });
  },
};

/** The file with another text in its header, the length right. */
function withDict(file: Uint8Array, chance: Chance): Uint8Array {
  const length = file[8] | file[9] << 8;
  const text = new TextDecoder("latin1").decode(file.subarray(10, 10 + length));
  const numbers = [
    "0",
    "-1",
    "4294967296",
    "9007199254740991",
    "1e9",
    "9".repeat(40),
    "1L",
    "0x10",
  ];
  const changed = chance.pick([
    () => text.replace(/\d+(?=[,)])/, () => chance.pick(numbers)),
    () => text.replace("(", `(${"9007199254740991, ".repeat(chance.between(1, 3))}`),
    () => text.replace("(", `(${"1, ".repeat(chance.pick([40, 10_000]))}`),
    () =>
      text.replace(
        /[<|]../,
        () => chance.pick([">f4", "|O", "<c8", "<U5", "f4", "<f16", "", "<u1"]),
      ),
    () => text.replace("False", () => chance.pick(["True", "None", "0", "false"])),
    () => text + "}".repeat(30_000),
    () => text.replace("}", " ".repeat(60_000) + "}"),
  ])();
  const body = new TextEncoder().encode(changed.slice(0, 65535));
  const bytes = new Uint8Array(10 + body.length + file.length - 10 - length);
  bytes.set(file.subarray(0, 8));
  bytes.set([body.length & 255, body.length >> 8], 8);
  bytes.set(body, 10);
  bytes.set(file.subarray(10 + length), 10 + body.length);
  return bytes;
}
