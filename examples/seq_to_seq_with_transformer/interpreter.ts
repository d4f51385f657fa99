/** A Transformer with the vocabularies of its two languages: sentences in, sentences out. */
import {
  argmax,
  type AttentionLayer,
  beamSearch,
  checkVocabSize,
  halvingWeights,
  loadModel,
  noGrad,
  readTensors,
  saveModel,
  Scope,
  sentenceBleu,
  type Tensor,
  tensor,
  TextVocabulary,
  type Transformer,
  TranslationRows,
  wordsOf,
} from "../../mod.ts";
import type { Device } from "../../mod.ts";
import type { Sentence } from "./data.ts";
import { upload } from "./evaluate.ts";

const SOURCE = "source_vocabulary.json";
const TARGET = "target_vocabulary.json";

/** Translates cleaned sentences between the languages of two vocabularies. */
export class Interpreter {
  readonly #model: Transformer;
  readonly #source: TextVocabulary;
  readonly #target: TextVocabulary;

  /** Puts them together; the model stays with its owner. */
  constructor(model: Transformer, source: TextVocabulary, target: TextVocabulary) {
    this.#model = model;
    this.#source = source;
    this.#target = target;
  }

  /** Reads what {@linkcode Interpreter.save} wrote. */
  static async load(folder: string, device: Device): Promise<Interpreter> {
    const model = await loadModel(folder, { device, kinds: ["transformer"] });
    const [source, target] = await Promise.all(
      [SOURCE, TARGET].map((name) => TextVocabulary.load(`${folder}/${name}`)),
    );
    checkVocabSize(`${folder}/${SOURCE}`, source.size, model.config.sourceVocabSize);
    checkVocabSize(`${folder}/${TARGET}`, target.size, model.config.targetVocabSize);
    return new Interpreter(model, source, target);
  }

  /** Writes the model and both vocabularies into a folder. */
  async save(folder: string): Promise<void> {
    await saveModel(folder, this.#model);
    await this.#source.save(`${folder}/${SOURCE}`);
    await this.#target.save(`${folder}/${TARGET}`);
  }

  /** The words of a sentence that are not in the vocabulary. */
  unknownWords(sentence: string): string[] {
    return wordsOf(sentence).filter((word) => !this.#source.has(word));
  }

  /**
   * The likeliest translations that a beam of some width finds, all sentences in one batch. Throws a `RangeError`
   * for a sentence without words and for one that is too long.
   */
  async translate(sentences: readonly string[], width: number): Promise<string[]> {
    if (sentences.length === 0) return [];
    using _scope = new Scope();
    using translator = this.#model.translator(this.#read(sentences));
    const starts = sentences.map(() => [this.#target.startId]);
    const beams = await beamSearch(translator, starts, { width, endId: this.#target.endId });
    return beams.map(([best]) => this.#target.decode(best.ids));
  }

  /**
   * Lines about each sentence: its translations by beams of 1, 2 and 3 with their BLEU, and what the model says
   * when it is told the words before.
   */
  async compareAll(sentences: readonly Sentence[]): Promise<string[][]> {
    const lines = sentences.map(({ source, references }) => [
      `> ${source}`,
      `= ${references.join(" | ")}`,
    ]);
    for (const width of [1, 2, 3]) {
      const found = await this.translate(sentences.map(({ source }) => source), width);
      sentences.forEach(({ references }, i) => {
        const bleu = sentenceBleu(references, found[i]);
        const halving = sentenceBleu(references, found[i], { weights: halvingWeights() });
        const scores = `BLEU-4 ${bleu.toFixed(3)}, by weights 1/2^n ${halving.toFixed(3)}`;
        lines[i].push(`beam ${width}: ${found[i]} (${scores})`);
      });
    }
    for (const [i, { source, references }] of sentences.entries()) {
      lines[i].push(`teacher-forced: ${await this.#forced(source, references[0])}`);
    }
    return lines;
  }

  /** The weights of every attention while a sentence and its translation are read, by the layers' names. */
  async attention(sentence: string, translation: string): Promise<Map<string, AttentionLayer>> {
    using _scope = new Scope();
    const seen: { name: string; weights: Tensor }[] = [];
    const read = this.#target.encode(translation).slice(0, -1);
    const inputs = Int32Array.of(this.#target.startId, ...read);
    noGrad(() =>
      this.#model.logits(this.#read([sentence]), this.#put(inputs, inputs.length), {
        observe: (weights, name) => seen.push({ name, weights: weights.keep() }),
      })
    );
    try {
      const values = await readTensors(seen.map(({ weights }) => weights));
      const words = {
        source: [...wordsOf(sentence), this.#source.specialTokens.end],
        target: [this.#target.specialTokens.start, ...wordsOf(translation)],
      };
      return new Map(seen.map(({ name, weights }, i) => {
        const [, heads, queries, keys] = weights.shape;
        return [name, {
          ...{ name, heads, queries, keys },
          weights: values[i] as Float32Array,
          queryTokens: name.startsWith("encoder") ? words.source : words.target,
          keyTokens: /encoder|cross/.test(name) ? words.source : words.target,
        }];
      }));
    } finally {
      for (const { weights } of seen) weights.dispose();
    }
  }

  /** What the model says for each word of the translation, told the right ones before it. */
  async #forced(source: string, target: string): Promise<string> {
    using _scope = new Scope();
    const lengths = {
      sourceLength: wordsOf(source).length + 1,
      targetLength: wordsOf(target).length + 1,
    };
    const rows = new TranslationRows([{ source, target }], this.#source, this.#target, lengths);
    const { sourceIds, decoderInputIds } = upload(rows.batch([0]), this.#model.device);
    const said = noGrad(() => argmax(this.#model.logits(sourceIds, decoderInputIds), -1));
    return this.#target.decode(await said.data());
  }

  /** The ids of sentences, filled with `<PAD>` to the length of the longest. */
  #read(sentences: readonly string[]): Tensor {
    // <EOS> takes one place.
    const most = this.#model.config.contextSize - 1;
    const counts = sentences.map((sentence) => wordsOf(sentence).length);
    counts.forEach((count, i) => {
      if (count === 0) throw new RangeError("There are no words to translate");
      if (count > most) {
        throw new RangeError(
          `"${sentences[i]}" has ${count} words; this translator reads ${most} at most`,
        );
      }
    });
    const length = Math.max(...counts) + 1;
    return this.#put(this.#source.encodeBatch(sentences, length), length);
  }

  #put(ids: Int32Array, length: number): Tensor {
    return tensor(ids, { shape: [ids.length / length, length], device: this.#model.device });
  }
}
