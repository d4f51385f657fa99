/**
 * A LLaMA of 134,105,856 parameters (vocabulary 32,000, width 768, 12 layers, MLP 2,048) out of GGUF files in F32, F16, Q8_0 and
 * Q4_0, on two threads: decoding 64 tokens after 16, and prefill of 256, by the CPU device without and with BLAS, and by
 * llama.cpp itself (`node-llama-cpp` from npm, some 1 GB in `.llamacpp/`). Every contender is a process of its own, they are
 * timed in turns, and ratios are of medians; above 1, dinograd is faster. Needs 1 GB in the folder for temporary files and
 * 3 GB of memory; a minute or so for each type and work.
 *
 * `deno run -A bench/compare_llamacpp.ts`, where types and works may be named: `q8_0 q4_0 decode`.
 */
import {
  CpuDevice,
  LLaMA,
  type PretrainedTokenizer,
  RandomState,
  saveGguf,
  tokenizerFromJson,
} from "../mod.ts";
import { installLlamaCpp, PACKAGES } from "../tools/proofs/llama_cpp.ts";
import { type Contender, formatTable, inTurns, startAll } from "./peers/contender.ts";
import { GGUF_TYPES, type GgufWork, LLAMA_134M, PREFILL, TOKENS } from "./peers/llama_134m.ts";

/** Seconds after which no new round begins, once there are two. */
const SECONDS = 12;
/** The name of llama.cpp in tables. */
const PEER = "llama.cpp";

/** Those that are named, or all. */
const named = <T extends string>(all: readonly T[]): T[] => {
  const some = all.filter((one) => Deno.args.includes(one));
  return some.length ? some : [...all];
};
const wanted = named(GGUF_TYPES);
const folder = await Deno.makeTempDir({ prefix: "dinograd-bench" });
let contenders: Contender[] = [];
try {
  await installLlamaCpp();
  await writeModels();
  const own = { program: "llama_134m.ts", args: [folder] };
  const reads = `--allow-read=${folder}`;
  contenders = await startAll([
    { ...own, name: "dinograd", permissions: [reads] },
    { ...own, name: "dinograd with BLAS", permissions: [reads, "--allow-ffi"] },
    {
      name: PEER,
      program: "llamacpp.ts",
      args: [PACKAGES, folder],
      permissions: ["-A", "--no-config", "--node-modules-dir=manual"],
    },
  ]);
  for (const work of named(["decode", "prefill"])) await compare(work);
} finally {
  contenders.forEach((contender) => contender[Symbol.dispose]());
  await Deno.remove(folder, { recursive: true });
}

async function writeModels(): Promise<void> {
  using device = CpuDevice.open({ threads: 2 });
  using model = new LLaMA(LLAMA_134M, { device, random: new RandomState(1) });
  const tokenizer = placeholders(model.config.vocabSize);
  for (const dtype of wanted) {
    await saveGguf(`${folder}/${dtype}.gguf`, model, { dtype, tokenizer });
  }
}

/** A vocabulary of so many made-up tokens, without which llama.cpp does not evaluate. */
function placeholders(size: number): PretrainedTokenizer {
  const byte = (i: number) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`;
  const tokens = ["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, i) => byte(i))];
  while (tokens.length < size) tokens.push(`t${tokens.length}`);
  return tokenizerFromJson({
    added_tokens: tokens.slice(0, 3).map((content, id) => ({ id, content, special: true })),
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    model: {
      ...{ type: "BPE", byte_fallback: true, merges: [] },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  });
}

async function compare(work: GgufWork): Promise<void> {
  const tokens = work === "decode" ? TOKENS : PREFILL;
  console.log(`\n${work === "decode" ? "Decoding" : "Prefill"}, ${tokens} tokens, in tokens/s`);
  const rows = [["", ...wanted, ...wanted.map((type) => `${type} against ${PEER}`)]];
  const medians = new Map<Contender, number[]>(contenders.map((contender) => [contender, []]));
  for (const type of wanted) {
    for (const contender of contenders) await contender.prepare(work, GGUF_TYPES.indexOf(type));
    await inTurns(contenders, 7, SECONDS);
    for (const contender of contenders) medians.get(contender)!.push(contender.median);
  }
  const peer = contenders.find(({ name }) => name === PEER);
  for (const contender of contenders) {
    const own = medians.get(contender)!;
    rows.push([
      contender.name,
      ...own.map((milliseconds) => (tokens / milliseconds * 1e3).toFixed(0)),
      ...own.map((milliseconds, i) =>
        contender === peer || !peer ? "" : `${(medians.get(peer)![i]! / milliseconds).toFixed(2)}x`
      ),
    ]);
  }
  console.log(formatTable(rows));
}
