/**
 * Folders of models, with one file of weights or several and their index, and models in a file.
 *
 * @module
 */
import { join } from "node:path";
import { DownloadError } from "../../../src/hub/http.ts";
import { CpuDevice } from "../../../src/device/cpu/cpu_device.ts";
import { GPT2 } from "../../../src/models/gpt2.ts";
import { GPT3 } from "../../../src/models/gpt3.ts";
import { LLaMA } from "../../../src/models/llama.ts";
import { ModernGPT } from "../../../src/models/modern_gpt.ts";
import { Transformer } from "../../../src/models/transformer.ts";
import { downloadModel } from "../../../src/pretrained/download_model.ts";
import { saveGguf } from "../../../src/pretrained/gguf_model.ts";
import { loadModel } from "../../../src/pretrained/load_model.ts";
import { loadTokenizer } from "../../../src/pretrained/load_tokenizer.ts";
import { saveModel } from "../../../src/pretrained/save_model.ts";
import { BytePairTokenizer } from "../../../src/tokenizer/byte_pair_tokenizer.ts";
import { AT_BYTE, AT_KEY, type Format, holds, type Mutant } from "../format.ts";
import { mutateBytes, mutateJsonText } from "../mutations.ts";
import type { Chance } from "../random.ts";

const KINDS = ["gpt2", "gpt3", "llama", "modern_gpt", "transformer"] as const;
const SIZES = {
  vocabSize: 10,
  maxPositionEmbeddings: 8,
  hiddenSize: 8,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
};
// A file that is missing has no place in it.
const PLACE = new RegExp(`${AT_BYTE.source}|${AT_KEY.source}|but got (none|neither)`);
/** Memory of the device, which grows by pages, and the buffers of numbers being copied there. */
const ALLOWANCE = 32 << 20;
/** Tensors that are not those of the configuration. */
const documented = (error: Error) =>
  error instanceof TypeError && error.message.includes("do not fit");

/** The files of a folder by their names. */
type Files = ReadonlyMap<string, Uint8Array>;

/** Folders of models. */
export const modelFolder: Format = {
  name: "model-folder",
  place: PLACE,
  allowance: ALLOWANCE,
  documented,
  async prepare(folder) {
    const device = CpuDevice.open({ threads: 1 });
    const sizes = {
      sourceVocabSize: 9,
      targetVocabSize: 11,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const models = [
      new GPT2(SIZES, { device }),
      new GPT3(SIZES, { device }),
      new LLaMA({ ...SIZES, numKeyValueHeads: 1 }, { device }),
      new ModernGPT(SIZES, { device }),
      new Transformer({ ...sizes, maxPositionEmbeddings: 16 }, { device }),
    ];
    const seeds: Files[] = [];
    for (const [i, model] of models.entries()) {
      const path = join(folder, `seed${i}`);
      await saveModel(path, model, { maxShardBytes: i === 2 ? 2000 : undefined });
      seeds.push(await readFiles(path));
      model.dispose();
    }
    return (chance) =>
      spoiled(join(folder, "model"), chance.pick(seeds), chance, async (path) => {
        const model = await loadModel(path, { device, kinds: KINDS });
        try {
          holds(model.parameters().size > 0, "has no parameters");
        } finally {
          model.dispose();
        }
      });
  },
};

/** GGUF files of models with their vocabularies. */
export const ggufModel: Format = {
  name: "gguf-model",
  place: PLACE,
  allowance: ALLOWANCE,
  documented,
  async prepare(folder) {
    const device = CpuDevice.open({ threads: 1 });
    const path = join(folder, "fuzz.gguf");
    const tokenizer = BytePairTokenizer.train("low lower lowest", { merges: 3 });
    const sizes = { ...SIZES, vocabSize: tokenizer.vocabSize + 1 };
    const seeds: Uint8Array[] = [];
    for (const Model of [LLaMA, GPT2]) {
      const model = new Model(sizes, { device });
      await saveGguf(path, model, { tokenizer });
      seeds.push(await Deno.readFile(path));
      model.dispose();
    }
    return (chance) => {
      const bytes = mutateBytes(chance.pick(seeds), chance);
      return {
        bytes: bytes.length,
        file: path,
        async read() {
          await Deno.writeFile(path, bytes);
          const model = await loadModel(path, { device });
          model.dispose();
          const loaded = await loadTokenizer(path);
          holds(loaded.encode("low").length > 0, "encodes a text to nothing");
        },
      };
    };
  },
};

/** What the hub says of a model, as the cache keeps it for when the hub is out of reach. */
export const hubListing: Format = {
  name: "hub-listing",
  place:
    /expected a (commit|list|path|size|SHA-256)|position (below )?\d+|a JSON object|Fetch failed|expected a file/,
  documented: (error) => error instanceof DownloadError,
  prepare(folder) {
    const file = (rfilename: string, size: number) => ({ rfilename, size, blobId: "b".repeat(40) });
    const seed = {
      sha: "c".repeat(40),
      siblings: [file("config.json", 12), file("tokenizer.json", 30), {
        ...file("model.safetensors", 400),
        lfs: { sha256: "d".repeat(64), size: 400 },
      }],
    };
    const kept = join(folder, "a--b", "main.json");
    return Promise.resolve((chance) => {
      const bytes = new TextEncoder().encode(mutateJsonText(seed, chance));
      return {
        bytes: bytes.length,
        // Where all is right with it, the address of a file is what could not be reached.
        file: "",
        async read() {
          await Deno.mkdir(join(folder, "a--b"), { recursive: true });
          await Deno.writeFile(kept, bytes);
          await downloadModel("a/b", {
            ...{ cacheFolder: folder, endpoint: "http://127.0.0.1:9", retries: 0, retryDelay: 0 },
          });
        },
      };
    });
  },
};

async function readFiles(folder: string): Promise<Files> {
  const files = new Map<string, Uint8Array>();
  for await (const { name } of Deno.readDir(folder)) {
    files.set(name, await Deno.readFile(join(folder, name)));
  }
  return files;
}

/** A folder with one of its files spoiled or missing; a JSON file most often, since the others have formats of their own. */
function spoiled(
  folder: string,
  seed: Files,
  chance: Chance,
  load: (folder: string) => Promise<void>,
): Mutant {
  const files = new Map(seed);
  const jsons = [...files.keys()].filter((name) => name.endsWith(".json"));
  const name = chance.pick(chance.oneIn(6) ? [...files.keys()] : jsons);
  const bytes = files.get(name)!;
  if (chance.oneIn(60)) files.delete(name);
  else if (name.endsWith(".json") && !chance.oneIn(10)) {
    const value = JSON.parse(new TextDecoder().decode(bytes));
    files.set(name, new TextEncoder().encode(mutateJsonText(value, chance)));
  } else files.set(name, mutateBytes(bytes, chance));
  return {
    bytes: files.values().reduce((sum, { length }) => sum + length, 0),
    file: folder,
    async read() {
      await Deno.remove(folder, { recursive: true }).catch(() => {});
      await Deno.mkdir(folder);
      for (const [name, bytes] of files) await Deno.writeFile(join(folder, name), bytes);
      await load(folder);
    },
  };
}
