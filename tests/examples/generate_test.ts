// Runs the example as a person would, on folders like those that the other examples write.
import assert from "node:assert/strict";
import { join } from "node:path";
import { AdamW, CpuDevice, generate, GPT2, RandomState, saveModel, saveRun } from "../../mod.ts";
import { BytePairTokenizer, LLaMA, TextVocabulary, Transformer } from "../../mod.ts";
import { finish, flagsOf, inFolder, startExample } from "../support/examples.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const tokenizer = BytePairTokenizer.train("the king sleeps while the rain falls", { merges: 20 });
const sizes = {
  vocabSize: tokenizer.vocabSize,
  maxPositionEmbeddings: 16,
  hiddenSize: 8,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
};

async function run(
  folder: string,
  args: string[],
  permissions = ["-A"],
): Promise<{ code: number; text: string; out: string }> {
  const options = ["--device", "cpu", ...args];
  return await finish(startExample(folder, permissions, "generate.ts", options));
}

/** A model's folder, as `next_token_byte_pair.ts` writes it. */
async function writeModel(folder: string): Promise<LLaMA> {
  const model = new LLaMA(sizes, { device, random: new RandomState(5) });
  await saveModel(folder, model);
  await tokenizer.save(join(folder, "tokenizer.json"));
  return model;
}

Deno.test("generate.ts continues a prompt as generate() does, by the permission of its header", () =>
  inFolder(async (folder) => {
    const model = await writeModel(join(folder, "runs/one/llama1"));
    const prompt = "the king";
    const sampling = { length: 12, temperature: 0.9, topK: 40, minP: 0.001, topP: 0.99 };
    const [{ ids }] = await generate(model, [tokenizer.encode(prompt)], {
      ...sampling,
      repetitionPenalty: 1.1,
      overflow: "slide",
      random: new RandomState(8),
    });
    model.dispose();
    const args = ["--length", "12", "--temperature", "0.9", "--top-k", "40", "--min-p", "0.001"];
    const more = ["--top-p", "0.99", "--repetition-penalty", "1.1", "--seed", "8"];
    const { code, text, out } = await run(
      folder,
      ["runs/one", "the", "king", ...args, ...more],
      await flagsOf("generate.ts"),
    );
    assert.equal(code, 0, text);
    assert.equal(out, `${prompt}${tokenizer.decode(ids)}\n`);
    assert.match(text, /12 tokens in .*, [\d,]+ tokens\/s, seed 8/);
  }));

Deno.test("generate.ts stops before a text, writes several samples, and searches", () =>
  inFolder(async (folder) => {
    const model = await writeModel(join(folder, "llama"));
    const [{ ids }] = await generate(model, [tokenizer.encode("rain")], { temperature: 0 });
    model.dispose();
    const whole = tokenizer.decode(ids.subarray(0, 8));
    const stop = whole.slice(3);
    const greedy = ["--prompt", "rain", "--length", "8"];
    const stopped = await run(folder, ["llama", ...greedy, "--temperature", "0", "--stop", stop]);
    assert.equal(stopped.out, `rain${whole.slice(0, whole.indexOf(stop))}\n`, stopped.text);
    const several = await run(folder, ["llama", ...greedy, "--samples", "2"]);
    assert.match(several.out, /^--- 1 ---\nrain[^]*\n--- 2 ---\nrain/);
    const searched = await run(folder, ["llama", ...greedy, "--beam", "1"]);
    assert.equal(searched.out, `rain${whole}\n`, searched.text);
    assert.match(searched.text, /8 tokens with a beam of 1/);
  }));

Deno.test("generate.ts begins and ends texts as the model's files say, also with a beam", () =>
  inFolder(async (folder) => {
    const path = join(folder, "llama");
    const model = await writeModel(path);
    const start = 97; // "a"
    const [{ ids }] = await generate(model, [[start, ...tokenizer.encode("rain")]], {
      temperature: 0,
      length: 8,
    });
    model.dispose();
    const end = ids.findIndex((id, i) => i > 1 && !ids.subarray(0, i).includes(id));
    const name = { id: "a", type_id: 0 };
    const json = {
      ...tokenizer.toJSON() as Record<string, unknown>,
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: name }, { Sequence: { id: "A", type_id: 0 } }],
        special_tokens: { a: { id: "a", ids: [start], tokens: ["a"] } },
      },
    };
    await Deno.writeTextFile(join(path, "tokenizer.json"), JSON.stringify(json));
    const generation = { eos_token_id: [ids[end]] };
    await Deno.writeTextFile(join(path, "generation_config.json"), JSON.stringify(generation));
    for (const how of [["--temperature", "0"], ["--beam", "1"]]) {
      const { out, text } = await run(folder, ["llama", "rain", "--length", "8", ...how]);
      assert.equal(out, `rain${tokenizer.decode(ids.subarray(0, end))}\n`, text);
    }
  }));

Deno.test("generate.ts takes the newest checkpoint of a run of reproduce_gpt.ts", () =>
  inFolder(async (folder) => {
    const options = { vocab: 50304, context: 8, embed: 8, layers: 1, heads: 2 };
    const config = {
      vocabSize: 50304,
      maxPositionEmbeddings: 8,
      hiddenSize: 8,
      numHiddenLayers: 1,
      numAttentionHeads: 2,
    };
    const model = new GPT2(config, { device });
    using optimizer = new AdamW(model.parameters());
    await saveRun(join(folder, "run"), 3, { model, optimizer }, { extra: { options } });
    model.dispose();
    const { code, text, out } = await run(folder, ["run", "Hello", "--length", "12"]);
    assert.equal(code, 0, text); // 12 tokens slide over a context of 8
    assert.match(out, /^Hello/);
    const refused = await run(folder, ["run", "Hello", "--length", "12", "--overflow", "error"]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.text, /context/);
  }));

Deno.test("generate.ts translates where the model is a translator", () =>
  inFolder(async (folder) => {
    const source = TextVocabulary.fromSentences(["i sleep .", "you sing ."]);
    const target = TextVocabulary.fromSentences(["je dors .", "tu chantes ."]);
    const model = new Transformer({
      ...{ sourceVocabSize: source.size, targetVocabSize: target.size, maxPositionEmbeddings: 6 },
      ...{ hiddenSize: 8, numHiddenLayers: 1, numAttentionHeads: 2 },
    }, { device });
    await saveModel(folder, model);
    model.dispose();
    await source.save(join(folder, "source_vocabulary.json"));
    await target.save(join(folder, "target_vocabulary.json"));
    const { code, text, out } = await run(folder, [".", "I", "whistle."]);
    assert.equal(code, 0, text);
    assert.match(text, /not in the vocabulary: whistle/);
    const words = new Set("je tu dors chantes . <UNK> <PAD> <SOS>".split(" "));
    for (const word of out.split(/\s+/)) assert.ok(word === "" || words.has(word), out);
    const none = await run(folder, ["."]);
    assert.match(none.text, /expected a sentence to translate but got none/);
  }));

Deno.test("generate.ts ends its text at Ctrl-C", () =>
  inFolder(async (folder) => {
    (await writeModel(join(folder, "llama"))).dispose();
    const args = ["--device", "cpu", "llama", "the king", "--length", "100000000"];
    const child = startExample(folder, ["-A"], "generate.ts", args);
    let sent = false;
    const { code, text, out } = await finish(child, (text) => {
      if (sent || text.length < 200) return;
      sent = true;
      child.kill("SIGINT");
    });
    assert.equal(code, 130, text);
    assert.match(out, /^the king[^]*\n$/);
    assert.match(text, /\d+ tokens in .* tokens\/s/);
  }));

Deno.test("generate.ts refuses what cannot be", () =>
  inFolder(async (folder) => {
    for (const name of ["a", "b"]) (await writeModel(join(folder, "two", name))).dispose();
    const other = join(folder, "two", "a", "tokenizer.json");
    // More ids than the model has.
    const text = Array.from({ length: 2000 }, (_, i) => `${i * i}`).join(" ");
    await BytePairTokenizer.train(text, { merges: 400 }).save(other);
    for (
      const [args, message] of [
        [["nothing"], /nothing: expected a folder in .* but got nothing there/],
        [["two"], /two: expected one model but got several: name two\/a or two\/b/],
        [
          ["two/a"],
          /two\/a\/tokenizer\.json: expected this model's vocabulary, \d+ ids at most, but got 656/,
        ],
        [["two/b", "--beam", "2", "--seed", "3"], /--beam does not sample: leave out --seed/],
        [["two/b", "--beam", "500"], /width/],
        [["two/b", ""], /^error: generate: expected a prompt but got an empty one$/m],
        [["two/b/config.json"], /two\/b\/config\.json: expected a model's folder/],
      ] as const
    ) {
      const { code, text } = await run(folder, [...args]);
      assert.notEqual(code, 0, text);
      assert.match(text, message);
    }
  }));
