/**
 * Greedy decoding and beam search against golden values.
 *
 * @module
 */
import type { Device } from "../../src/device/device.ts";
import { beamSearch } from "../../src/decode/beam_search.ts";
import { generate } from "../../src/decode/generate.ts";
import type { NextTokenModel } from "../../src/decode/next_token_model.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { Transformer } from "../../src/models/transformer.ts";
import { checkStateDict } from "../../src/nn/state_dict.ts";
import { logSoftmax } from "../../src/ops/softmax.ts";
import { assign, tensor } from "../../src/tensor/create.ts";
import { Scope } from "../../src/tensor/scope.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { deviceName } from "./devices.ts";
import { Comparison, manifest, tensorsOf } from "./golden.ts";
import { byOurNames, sizes, translatorSizes } from "./golden_models.ts";

/** A decoded sequence as the manifest has it. */
interface Expected {
  readonly ids: readonly number[];
  readonly score?: number;
  readonly ended?: boolean;
  readonly survivors?: readonly Expected[];
}

/** One case: the prompt, or the source sentence, and under `greedy`, `beam2`, ... what comes out. */
type Case = Readonly<Record<string, Expected>> & {
  readonly prompt_ids?: readonly number[];
  readonly src_ids?: readonly number[];
  readonly first_step_logp?: readonly number[];
};

/** Within which scores and logarithms of probabilities must agree. */
const TOLERANCE = 1e-4;

/** Whether decoding of this name is known here. */
export function isDecoding(name: string): boolean {
  return name === "decode_gpt2" || name === "decode_transformer";
}

/** All cases of `<name>.json` in one batch, and the first by itself. */
export async function compareDecoding(name: string, device: Device): Promise<void> {
  const golden = manifest(name);
  const comparison = new Comparison(name, deviceName(device));
  const translates = name === "decode_transformer";
  const model = translates
    ? new Transformer(translatorSizes(golden.config), { device })
    : new GPT2(sizes(golden.config), { device });
  await load(model.parameters(), `${name}.params`);
  const cases: Case[] = golden.cases;
  for (const group of [cases, cases.slice(0, 1)]) {
    await comparison.run(`${group.length} at once`, async () => {
      using _scope = new Scope();
      const reader = model instanceof Transformer
        ? model.translator(sourceIds(group, device))
        : model;
      const prompts = group.map((one) => one.prompt_ids ?? [golden.sos_id]);
      await compareFirstStep(comparison, reader, group, prompts);
      await compareCases(comparison, reader, group, prompts, golden);
    });
  }
  if (golden.first_prompt_last_logits) {
    await comparison.run("first prompt", async () => {
      using _scope = new Scope();
      const ids = tensor([[...cases[0].prompt_ids!]], { device, dtype: "i32" });
      const logits = await (model as GPT2).nextLogits(ids).data();
      comparison.values("last logits", logits, golden.first_prompt_last_logits, TOLERANCE);
    });
  }
  model.dispose();
  comparison.finish();
}

async function load(parameters: ReadonlyMap<string, Tensor>, file: string): Promise<void> {
  const stored = byOurNames(await tensorsOf(file));
  checkStateDict(parameters, stored, file);
  for (const [name, { data }] of stored) assign(parameters.get(name)!, data);
}

/** The source sentences, padded as they are stored. */
function sourceIds(group: readonly Case[], device: Device): Tensor {
  const rows = group.map((one) => [...one.src_ids!]);
  return tensor(rows, { device, dtype: "i32" });
}

/** The logarithms of the probabilities of the first token, where the cases have them. */
async function compareFirstStep(
  comparison: Comparison,
  model: NextTokenModel,
  group: readonly Case[],
  prompts: readonly (readonly number[])[],
): Promise<void> {
  if (!group[0].first_step_logp) return;
  using cache = model.createCache(group.length);
  const ids = tensor(prompts.map((prompt) => [...prompt]), { device: model.device, dtype: "i32" });
  const found = await logSoftmax(model.nextLogits(ids, { cache })).data();
  const expected = group.flatMap((one) => one.first_step_logp!);
  comparison.values("first step", found, expected, TOLERANCE);
}

/** Everything that is decoded from the prompts. */
async function compareCases(
  comparison: Comparison,
  model: NextTokenModel,
  group: readonly Case[],
  prompts: readonly (readonly number[])[],
  { eos_id: endId, max_steps: length, alpha }: { eos_id: number; max_steps: number; alpha: number },
): Promise<void> {
  const compareIds = (what: string, found: Uint32Array, expected: Expected) =>
    comparison.values(`${what} ids`, found, expected.ids, 0.5);
  const greedy = await generate(model, prompts, { length, temperature: 0, stopIds: [endId] });
  greedy.forEach(({ ids }, i) => compareIds("greedy", ids, group[i].greedy));

  for (const kind of Object.keys(group[0]).filter((key) => key.startsWith("beam"))) {
    const width = Number(kind.slice("beam".length));
    const found = await beamSearch(model, prompts, { width, length, alpha, stopIds: [endId] });
    found.forEach((paths, i) => {
      const expected = group[i][kind];
      compareIds(kind, paths[0].ids, expected);
      const survivors = expected.survivors ?? [];
      comparison.values(`${kind} survivors`, [paths.length], [survivors.length], 0);
      survivors.forEach((survivor, rank) => {
        const { ids, score, ended } = paths[rank];
        const what = `${kind} path ${rank}`;
        compareIds(what, ids, survivor);
        comparison.values(`${what} score`, [score], [survivor.score!], TOLERANCE);
        comparison.values(`${what} ended`, [Number(ended)], [Number(survivor.ended)], 0);
      });
    });
  }
}
