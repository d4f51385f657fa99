/**
 * Finds special tokens in a text, by tiktoken's rules.
 *
 * @module
 */
import { shown } from "../io/json_text.ts";
import { type EncodeOptions, SpecialTokenError } from "./tokenizer.ts";

/** The sides on which a token absorbs white space. */
export interface Strip {
  /** Before it. */
  readonly left: boolean;
  /** After it. */
  readonly right: boolean;
}

/** Up to this many tokens, a text is searched for each, which is faster than one pattern of all. */
const FEW = 16;

/** The special tokens of a tokenizer. */
export class SpecialTokens {
  /** The tokens' texts and ids. */
  readonly ids: ReadonlyMap<string, number>;
  readonly #strip: ReadonlyMap<string, Strip>;
  #all: RegExp | undefined;

  /**
   * @param ids the tokens' texts and ids
   * @param strip the tokens that absorb white space
   */
  constructor(ids: ReadonlyMap<string, number>, strip: ReadonlyMap<string, Strip> = new Map()) {
    this.ids = ids;
    this.#strip = strip;
  }

  /**
   * Splits `text` at the special tokens that `options` allows, and calls `ordinary` and `special` for the parts in
   * order. If one special token is the beginning of another, the longer is taken.
   *
   * @throws {SpecialTokenError} if `text` has one that `options` refuses; nothing was called then
   */
  split(
    text: string,
    options: EncodeOptions,
    ordinary: (text: string) => void,
    special: (id: number) => void,
  ): void {
    const allowed = new Set(this.#chosen(options.allowedSpecial ?? []));
    const refused = options.disallowedSpecial ?? "all";
    this.#refuse(
      text,
      this.#chosen(refused).filter((token) => refused !== "all" || !allowed.has(token)),
    );
    if (allowed.size === 0) return ordinary(text);
    let from = 0;
    for (const { 0: token, index } of text.matchAll(this.#patternOf([...allowed]))) {
      const { left, right } = this.#strip.get(token) ?? { left: false, right: false };
      const before = text.slice(from, index);
      const part = left ? before.replace(/\p{White_Space}+$/u, "") : before;
      if (part !== "") ordinary(part);
      special(this.ids.get(token)!);
      from = index + token.length;
      if (right) from += /^\p{White_Space}*/u.exec(text.slice(from))![0].length;
    }
    if (from < text.length) ordinary(text.slice(from));
  }

  #refuse(text: string, refused: string[]): void {
    // A quick search for each before building a pattern: nearly every text has none.
    if (refused.length <= FEW && !refused.some((token) => text.includes(token))) return;
    if (refused.length === 0) return;
    const [match] = text.matchAll(this.#patternOf(refused));
    if (!match) return;
    throw new SpecialTokenError(match[0], this.ids.get(match[0])!, match.index);
  }

  #patternOf(tokens: string[]): RegExp {
    return tokens.length === this.ids.size ? this.#all ??= patternOf(tokens) : patternOf(tokens);
  }

  /** Returns the tokens of `choice` that exist, each once. */
  #chosen(choice: "all" | Iterable<string>): string[] {
    if (choice === "all") return [...this.ids.keys()];
    if (typeof choice === "string") {
      throw new TypeError(
        `special tokens: expected "all" or a list but got the string ${JSON.stringify(choice)}`,
      );
    }
    return [...new Set(choice)].filter((token) => this.ids.has(token));
  }
}

/** Texts are searched for each special token, so the number that a file may define is limited. */
const MAX_SPECIAL_TOKENS = 8192;
/**
 * The maximum number of characters of one and of all, which form one pattern: longer ones are refused by the engine, or
 * slow.
 */
const MAX_LENGTH = 1024;
const MAX_TOTAL_LENGTH = 2 ** 18;

/**
 * Checks the texts of special tokens.
 *
 * @throws {TypeError} if there are more than 8,192, or one is empty, longer than 1,024 characters, not
 * well-formed Unicode, is a duplicate, or all together have more than 262,144 characters; the message
 * begins with `where`
 */
export function checkSpecialTokens(tokens: readonly unknown[], where: string): void {
  if (tokens.length > MAX_SPECIAL_TOKENS) {
    throw new TypeError(
      `${where}: expected at most ${MAX_SPECIAL_TOKENS} special tokens but got ${tokens.length}`,
    );
  }
  const seen = new Set<string>();
  let total = 0;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (typeof token !== "string" || token === "" || !token.isWellFormed()) {
      const found = typeof token === "string" ? shown(token) : `a ${typeof token}`;
      throw new TypeError(
        `${where}[${i}]: expected well-formed text that is not empty but got ${found}`,
      );
    }
    total += token.length;
    if (token.length > MAX_LENGTH || total > MAX_TOTAL_LENGTH) {
      throw new TypeError(
        `${where}[${i}]: expected at most ${MAX_LENGTH} characters, and ${MAX_TOTAL_LENGTH} of all ` +
          `special tokens but got ${token.length} and ${total}`,
      );
    }
    if (seen.has(token)) {
      throw new TypeError(
        `${where}[${i}]: expected each special token once but got ${shown(token)} twice`,
      );
    }
    seen.add(token);
  }
}

function patternOf(tokens: string[]): RegExp {
  const longestFirst = tokens.toSorted((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map(RegExp.escape).join("|"), "gu");
}
