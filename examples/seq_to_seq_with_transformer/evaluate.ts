/** Loss and accuracy of the translator with teacher forcing. */
import {
  accuracy,
  type Device,
  noGrad,
  readTensors,
  Scope,
  shuffledOrder,
  type Tensor,
  tensor,
  type Transformer,
  type TranslationBatch,
  type TranslationRows,
} from "../../mod.ts";

/** Means over words, including `<EOS>` but not `<PAD>`. */
export interface Scores {
  /** Cross-entropy in nats, without label smoothing. */
  loss: number;
  /** The fraction of words that the model predicts correctly. */
  accuracy: number;
}

/** Pairs whose logits are in memory at a time: with 16 words of a vocabulary of 20,000, 160 MB. */
const ROWS = 128;

/** Loss and accuracy on all pairs, or on `rows` of them chosen by `seed`; the values are read once. */
export async function evaluate(
  model: Transformer,
  pairs: TranslationRows,
  device: Device,
  options: { rows?: number; seed?: number } = {},
): Promise<Scores> {
  const { rows = pairs.count, seed = 0 } = options;
  const order = shuffledOrder(pairs.count, seed, 0).subarray(0, rows);
  using scope = new Scope();
  const counts: Tensor[] = [];
  for (const batch of pairs.batches(ROWS, { order })) {
    using _batch = new Scope();
    const { sourceIds, decoderInputIds, targets } = upload(batch, device);
    const [logits, loss] = noGrad(() => [
      model.logits(sourceIds, decoderInputIds),
      model.loss(sourceIds, decoderInputIds, targets),
    ]);
    const { correct, count } = accuracy(logits, targets, { ignoreIndex: 0 });
    for (const value of [loss, correct, count]) value.moveTo(scope);
    counts.push(loss, correct, count);
  }
  const values = (await readTensors(counts)).map((values) => values[0]!);
  let [lossSum, correctSum, countSum] = [0, 0, 0];
  for (let i = 0; i < values.length; i += 3) {
    const [loss, correct, count] = values.slice(i, i + 3) as [number, number, number];
    lossSum += loss * count;
    correctSum += correct;
    countSum += count;
  }
  return { loss: lossSum / countSum, accuracy: correctSum / countSum };
}

/** A batch on a device. */
export function upload(
  { rows, sourceLength, targetLength, ...ids }: TranslationBatch,
  device: Device,
): { sourceIds: Tensor; decoderInputIds: Tensor; targets: Tensor } {
  const put = (ids: Int32Array, length: number) => tensor(ids, { shape: [rows, length], device });
  return {
    sourceIds: put(ids.sourceIds, sourceLength),
    decoderInputIds: put(ids.decoderInputIds, targetLength),
    targets: put(ids.targets, targetLength),
  };
}
