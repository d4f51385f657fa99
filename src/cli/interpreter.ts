/** A Transformer with the vocabularies of its two languages: sentences in, sentences out. */
import {
  beamSearch,
  type Device,
  loadModel,
  saveModel,
  Scope,
  type Tensor,
  tensor,
  TextVocabulary,
  type Transformer,
  wordsOf,
} from "../../mod.ts";

const SOURCE = "source_vocabulary.json";
const TARGET = "target_vocabulary.json";

/** The scores of translations are divided by their length to this power. */
export const LENGTH_EXPONENT = 0.75;

/** A translation that beam search found. */
export interface Translation {
  readonly text: string;
  /** The logarithm of its probability, divided by length^{@linkcode LENGTH_EXPONENT}; the length includes `<EOS>`. */
  readonly score: number;
}

/** Translates cleaned sentences between the languages of two vocabularies. */
export class Interpreter {
  readonly model: Transformer;
  readonly source: TextVocabulary;
  readonly target: TextVocabulary;

  /** Combines a model with its vocabularies; the caller keeps ownership of the model. */
  constructor(model: Transformer, source: TextVocabulary, target: TextVocabulary) {
    this.model = model;
    this.source = source;
    this.target = target;
  }

  /** Reads what {@linkcode Interpreter.save} wrote. */
  static async load(folder: string, device: Device): Promise<Interpreter> {
    const model = await loadModel(folder, { device, kinds: ["transformer"] });
    const [source, target] = await Promise.all(
      [SOURCE, TARGET].map((name) => TextVocabulary.load(`${folder}/${name}`)),
    );
    checkVocabSize(`${folder}/${SOURCE}`, source!.size, model.config.sourceVocabSize);
    checkVocabSize(`${folder}/${TARGET}`, target!.size, model.config.targetVocabSize);
    return new Interpreter(model, source!, target!);
  }

  /** Writes the model and both vocabularies into a folder. */
  async save(folder: string): Promise<void> {
    await saveModel(folder, this.model);
    await this.source.save(`${folder}/${SOURCE}`);
    await this.target.save(`${folder}/${TARGET}`);
  }

  /** Returns the words of a sentence that are not in the vocabulary. */
  unknownWords(sentence: string): string[] {
    return wordsOf(sentence).filter((word) => !this.source.has(word));
  }

  /**
   * Returns the likeliest translations that a beam of the given width finds, with all sentences in one batch. Throws a
   * `RangeError` for a sentence without words or one that is too long.
   */
  async translate(sentences: readonly string[], width: number): Promise<Translation[]> {
    if (sentences.length === 0) return [];
    using _scope = new Scope();
    using translator = this.model.translator(this.read(sentences));
    const starts = sentences.map(() => [this.target.startId]);
    const { endId } = this.target;
    const options = { width, stopIds: [endId], alpha: LENGTH_EXPONENT };
    const beams = await beamSearch(translator, starts, options);
    return beams.map(([best]) => ({ text: this.target.decode(best!.ids), score: best!.score }));
  }

  /**
   * Returns the ids of sentences (rows, words) on the model's device, padded with `<PAD>` to the length of the longest.
   */
  read(sentences: readonly string[]): Tensor {
    // One place is for <EOS>.
    const maxWords = this.model.config.maxPositionEmbeddings - 1;
    const counts = sentences.map((sentence) => wordsOf(sentence).length);
    counts.forEach((count, i) => {
      if (count === 0) throw new RangeError("translate: expected words to translate but got none");
      if (count > maxWords) {
        throw new RangeError(
          `translate: expected at most ${maxWords} words but got ${count} in "${sentences[i]}"`,
        );
      }
    });
    const length = Math.max(...counts) + 1;
    const ids = this.source.encodeBatch(sentences, length);
    return tensor(ids, { shape: [sentences.length, length], device: this.model.device });
  }
}

function checkVocabSize(file: string, found: number, expected: number): void {
  if (found === expected) return;
  throw new TypeError(
    `${file}: expected this model's vocabulary of ${expected} ids but got ${found}`,
  );
}
