/**
 * The files of llm.c and llama2.c: numbers at fixed places.
 *
 * @module
 */
import { join } from "node:path";
import { MemorySource } from "../../../src/io/byte_source.ts";
import { type Llama2cConfig, Llama2cFile, writeLlama2c } from "../../../src/io/llama2c_bin.ts";
import { readLlmcTokens, writeLlmcTokens } from "../../../src/io/llmc_bin.ts";
import {
  loadLlama2cTokenizer,
  writeLlama2cTokens,
} from "../../../src/tokenizer/sentencepiece_bin.ts";
import { AT_BYTE, type Format, holds } from "../format.ts";
import { mutateBytes } from "../mutations.ts";

/** llm.c's token shards. */
export const llmc: Format = {
  name: "llm.c",
  place: AT_BYTE,
  async prepare(folder) {
    const path = join(folder, "seed.bin");
    await writeLlmcTokens(path, Uint16Array.from({ length: 100 }, (_, i) => i * 7));
    const seed = await Deno.readFile(path);
    return (chance) => {
      const bytes = mutateBytes(seed, chance);
      const file = "fuzz.bin";
      return {
        bytes: bytes.length,
        file,
        async read() {
          const tokens = await readLlmcTokens(new MemorySource(bytes, file));
          holds(1024 + 2 * tokens.length === bytes.length, `has ${tokens.length} tokens`);
        },
      };
    };
  },
};

/** llama2.c's models. */
export const llama2c: Format = {
  name: "llama2.c",
  place: AT_BYTE,
  async prepare(folder) {
    const sizes = {
      dim: 8,
      hiddenDim: 12,
      layers: 2,
      heads: 4,
      kvHeads: 2,
      vocabSize: 9,
      seqLen: 6,
    };
    const seeds: Uint8Array[] = [];
    for (const version of [0, 1] as const) {
      for (const sharedClassifier of [true, false]) {
        const config: Llama2cConfig = { ...sizes, sharedClassifier };
        const path = join(folder, "seed.bin");
        await writeLlama2c(
          path,
          config,
          version,
          ({ shape }) => new Float32Array(shape.reduce((a, b) => a * b, 1)),
        );
        seeds.push(await Deno.readFile(path));
      }
    }
    return (chance) => {
      const bytes = mutateBytes(chance.pick(seeds), chance);
      const file = "fuzz.bin";
      return {
        bytes: bytes.length,
        file,
        async read() {
          using found = await Llama2cFile.open(new MemorySource(bytes, file));
          for (const [name, { offset, shape }] of found.tensors) {
            const length = 4 * shape.reduce((a, b) => a * b, 1);
            holds(offset >= 28 && offset + length <= bytes.length, `${name} is out of the file`);
            await found.read(name);
          }
        },
      };
    };
  },
};

/** llama2.c's vocabularies. */
export const llama2cVocabulary: Format = {
  name: "llama2.c-vocabulary",
  place: /\bbytes? -?\d+/,
  allowance: 4 << 20, // the tables of a tokenizer
  async prepare(folder) {
    const path = join(folder, "seed.bin");
    const byteName = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
    await writeLlama2cTokens(path, [
      ...["<unk>", "\n<s>\n", "\n</s>\n"].map((text) => ({ text, score: 0 })),
      ...Array.from({ length: 256 }, (_, byte) => ({ text: byteName(byte), score: 0 })),
      ...["lo", " low", "er", "low", " ", "l", "o", "w", "e", "r", "."]
        .map((text, i) => ({ text, score: -i })),
    ]);
    const seed = await Deno.readFile(path);
    return (chance) => {
      const bytes = mutateBytes(seed, chance);
      const file = "fuzz.bin";
      return {
        bytes: bytes.length,
        file,
        async read() {
          const tokenizer = await loadLlama2cTokenizer(new MemorySource(bytes, file));
          const ids = tokenizer.encode("lower é\u{1f995} low");
          holds(ids.every((id) => id < tokenizer.vocabSize), `gives ids ${ids}`);
          tokenizer.decode(ids);
        },
      };
    };
  },
};
