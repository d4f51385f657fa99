/**
 * Proof: the translator learns 4,000 sentence pairs by heart, on the CPU device.
 *
 *     deno run -A tools/proofs/train_translator.ts ../shared/data/fra.txt
 *
 * Many English sentences of `fra.txt` come with several French ones, and a translator cannot know which of them
 * is meant. So it is trained twice: on the first 4,000 pairs as they stand, where no model can be right about
 * all words and the accuracy is held against the best that is possible, and on the first 4,000 pairs of
 * different English sentences, where it has to be right about 95% of the words.
 *
 * @module
 */
import {
  accuracy,
  Adam,
  beamSearch,
  clipGradNorm,
  CpuDevice,
  type Device,
  formatDuration,
  loadEnglishFrench,
  noGrad,
  openProgress,
  RandomState,
  readTensors,
  Scope,
  type SentencePair,
  shuffledOrder,
  tensor,
  TextVocabulary,
  Transformer,
  type TranslationBatch,
  TranslationRows,
  warmupCosine,
  wordsOf,
} from "../../mod.ts";

const PAIRS = 4000;
const EPOCHS = 16;
const BATCH = 64;
/** Sentences that are translated in the end. */
const TRANSLATED = 50;

/** What came of one training. */
export interface TranslatorFigures {
  /** What it was trained on. */
  readonly data: string;
  /** Number of parameters of the model. */
  readonly parameters: number;
  /** The share of words that no model can beat, `<EOS>` among them, each with the right words before it. */
  readonly ceiling: number;
  /** The share of words that the trained model has right, in the same way. */
  readonly accuracy: number;
  /** Of 50 sentences, how many come out as one of their references, by greedy decoding. */
  readonly greedy: number;
  /** The same by a beam of 3. */
  readonly beam: number;
  /** Mean loss of every epoch in nats for a word, label smoothing included. */
  readonly losses: readonly number[];
  /** How long it trained. */
  readonly seconds: number;
}

/** Trains on the pairs of a file (`fra.txt`), as they stand and one for each English sentence. */
export async function trainTranslators(
  path: string,
  log: (line: string) => void = console.log,
): Promise<TranslatorFigures[]> {
  using device = CpuDevice.open();
  const pairs = await loadEnglishFrench({ path });
  const distinct = [...Map.groupBy(pairs, ({ source }) => source).values()].map(([pair]) => pair);
  const figures: TranslatorFigures[] = [];
  for (
    const [data, some] of [
      [`the first ${PAIRS} pairs`, pairs.slice(0, PAIRS)],
      [`the first ${PAIRS} English sentences, one translation each`, distinct.slice(0, PAIRS)],
    ] as const
  ) {
    const found = await train(data, some, device);
    figures.push(found);
    for (const line of describe(found)) log(line);
  }
  return figures;
}

/** Lines for people. */
export function describe(figures: TranslatorFigures): string[] {
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`;
  const { data, parameters, ceiling, accuracy, greedy, beam, losses, seconds } = figures;
  return [
    `${data}: ${parameters.toLocaleString("en")} parameters, ${losses.length} epochs, ` +
    `${formatDuration(seconds)}, loss ${losses[0].toFixed(3)} to ${losses.at(-1)!.toFixed(3)}`,
    `  teacher-forced training accuracy ${percent(accuracy)}; at best ${percent(ceiling)}, ` +
    `of which it has ${percent(accuracy / ceiling)}`,
    `  of ${TRANSLATED} training sentences ${greedy} come out as a reference by greedy decoding, ` +
    `${beam} by a beam of 3`,
  ];
}

/**
 * The best accuracy that a model can have that sees the source and the right words before: for each such
 * context the word that follows most often.
 */
export function accuracyCeiling(pairs: readonly SentencePair[]): number {
  const contexts = new Map<string, Map<string, number>>();
  let total = 0;
  for (const { source, target } of pairs) {
    let context = `${source}\t`;
    for (const word of [...wordsOf(target), "<EOS>"]) {
      const counts = contexts.get(context) ?? new Map<string, number>();
      contexts.set(context, counts.set(word, (counts.get(word) ?? 0) + 1));
      context += `${word} `;
      total++;
    }
  }
  const best = contexts.values().reduce((sum, counts) => sum + Math.max(...counts.values()), 0);
  return best / total;
}

async function train(
  data: string,
  pairs: readonly SentencePair[],
  device: Device,
): Promise<TranslatorFigures> {
  const sides = ["source", "target"] as const;
  const [source, target] = sides.map((side) =>
    TextVocabulary.fromSentences(pairs.map((pair) => pair[side]))
  );
  const [sourceLength, targetLength] = sides.map((side) =>
    1 + Math.max(...pairs.map((pair) => wordsOf(pair[side]).length))
  );
  const rows = new TranslationRows(pairs, source, target, { sourceLength, targetLength });
  const random = new RandomState(1337);
  const model = new Transformer({
    ...{ sourceVocabSize: source.size, targetVocabSize: target.size },
    ...{ hiddenSize: 128, intermediateSize: 256, numHiddenLayers: 2, numAttentionHeads: 4 },
    maxPositionEmbeddings: Math.max(sourceLength, targetLength),
  }, { device, random });
  const parameters = model.parameters();
  using optimizer = new Adam(parameters, { betas: [0.9, 0.98] });
  const steps = EPOCHS * Math.ceil(pairs.length / BATCH);
  const schedule = warmupCosine({ maxLr: 2e-3, warmupSteps: 100, totalSteps: steps });

  const started = performance.now();
  const losses: number[] = [];
  let step = 0;
  using progress = await openProgress({ label: data, total: steps, unit: "steps", lineEvery: 30 });
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    let [sum, seen] = [0, 0];
    const order = shuffledOrder(rows.count, 1337, epoch);
    for (const batch of rows.batches(BATCH, { order })) {
      using _scope = new Scope();
      const { sourceIds, decoderInputIds, targets } = upload(batch, device);
      const loss = model.loss(sourceIds, decoderInputIds, targets, { labelSmoothing: 0.01 });
      loss.backward();
      const { factor } = clipGradNorm(parameters, 1);
      optimizer.step({ lr: schedule(++step), gradScale: factor });
      optimizer.zeroGrad();
      sum += await loss.item() * batch.rows;
      seen += batch.rows;
      progress.update(step, `loss ${(sum / seen).toFixed(3)}`);
    }
    losses.push(sum / seen);
  }
  progress.stop();
  const seconds = (performance.now() - started) / 1000;

  const groups = [...Map.groupBy(pairs, (pair) => pair.source)];
  const chosen = Array.from(
    shuffledOrder(groups.length, 1337, 0).subarray(0, TRANSLATED),
    (i) => groups[i],
  );
  const matches = async (width: number) => {
    using _scope = new Scope();
    const batch = source.encodeBatch(chosen.map(([sentence]) => sentence), sourceLength);
    using translator = model.translator(
      tensor(batch, { shape: [chosen.length, sourceLength], device }),
    );
    const starts = chosen.map(() => [target.startId]);
    const beams = await beamSearch(translator, starts, { width, stopIds: [target.endId] });
    const said = beams.map(([best]) => target.decode(best.ids));
    return chosen.filter(([, pairs], i) => pairs.some((pair) => pair.target === said[i])).length;
  };
  const figures = {
    ...{ data, parameters: model.parameterCount(), losses, seconds },
    ceiling: accuracyCeiling(pairs),
    accuracy: await trainingAccuracy(model, rows),
    greedy: await matches(1),
    beam: await matches(3),
  };
  model.dispose();
  return figures;
}

/** The share of all words that the model has right when it is told the ones before. */
async function trainingAccuracy(model: Transformer, rows: TranslationRows): Promise<number> {
  let [right, all] = [0, 0];
  for (const batch of rows.batches(4 * BATCH)) {
    using _scope = new Scope();
    const { sourceIds, decoderInputIds, targets } = upload(batch, model.device);
    const logits = noGrad(() => model.logits(sourceIds, decoderInputIds));
    const counted = accuracy(logits, targets, { ignoreIndex: model.config.padTokenId });
    const [[correct], [count]] = await readTensors([counted.correct, counted.count]);
    right += correct;
    all += count;
  }
  return right / all;
}

function upload({ rows, sourceLength, targetLength, ...ids }: TranslationBatch, device: Device) {
  const put = (ids: Int32Array, length: number) => tensor(ids, { shape: [rows, length], device });
  return {
    sourceIds: put(ids.sourceIds, sourceLength),
    decoderInputIds: put(ids.decoderInputIds, targetLength),
    targets: put(ids.targets, targetLength),
  };
}

if (import.meta.main) {
  const [path] = Deno.args;
  if (path === undefined) throw new Error("Name the file: ../shared/data/fra.txt");
  const [all, distinct] = await trainTranslators(path);
  const ok = distinct.accuracy >= 0.95 && all.accuracy >= 0.95 * all.ceiling &&
    distinct.greedy > TRANSLATED / 2 && all.greedy > TRANSLATED / 2;
  console.log(ok ? "ok" : "NOT REACHED");
  if (!ok) Deno.exit(1);
}
