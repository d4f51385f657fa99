/**
 * The preprocessor between a `.wgsl` file and the program that is compiled. With its kernel's header prepended (see
 * `wgslHeader`), the file is plain WGSL, except for comments that act as directives:
 *
 * - `alias T = f32;` takes the value of the constant `T`, and `const TILE = 16u;` that of the constant `TILE`, with the
 *   same suffix; the value in the file is the default;
 * - the lines between `//#repeat i 0..4` and `//#end` are repeated for each value, with `{i}` replaced by it; bounds
 *   may be constants, or sums and products of them. naga does not unroll loops, so hot ones are unrolled here;
 * - `//#repeat x of q k v` does the same for words;
 * - the lines between `//#if NAME` and `//#end` are kept if the constant is true or nonzero, and those after an
 *   `//#else` if not. This is for code that would not compile otherwise; everything else can use WGSL's own `if`.
 *
 * Blocks nest.
 *
 * @module
 */

/** Values of a program's constants, by name. */
export type Constants = Readonly<Record<string, number | string | boolean>>;

/** The program of `source` with these constants. Throws if a constant is not in the source. */
export function specialise(source: string, constants: Constants = {}): string {
  let text = source;
  for (const [name, value] of Object.entries(constants)) {
    const line = new RegExp(`^(const|alias) ${name}\\b([^=;\\n]*)=\\s*([^;]+);`, "m");
    const found = line.exec(text);
    if (!found) {
      throw new Error(
        `expandTemplate: expected a line "const ${name} = ...;" or "alias ${name} = ...;" but got none`,
      );
    }
    const filled = `${found[1]} ${name}${found[2]}= ${literal(name, value, found[3]!)};`;
    text = text.replace(line, () => filled);
  }
  const bounds: Record<string, number> = {};
  for (const [, name, value] of text.matchAll(/^const (\w+)[^=;\n]*=\s*(\d+u?|true|false);/gm)) {
    bounds[name!] = value === "true" ? 1 : value === "false" ? 0 : parseInt(value!);
  }
  text = expand(text.split("\n"), bounds).join("\n");
  const half = !/^enable f16;/m.test(text) &&
    /^alias \w+ = (f16|vec[234]<f16>);/m.test(text);
  return half ? `enable f16;\n${text}` : text;
}

/** `value` in the form of the constant's value in the source: with its suffix, or its decimal point. */
function literal(name: string, value: number | string | boolean, before: string): string {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) {
    throw new Error(`expandTemplate: expected a number as constant ${name} but got ${value}`);
  }
  const suffix = /^-?[0-9.]+(?:e[-+]?[0-9]+)?([iufh])$/i.exec(before.trim())?.[1] ?? "";
  const whole = Number.isInteger(value) && !String(value).includes("e");
  const fraction = whole && suffix !== "u" && suffix !== "i" &&
    /^-?[0-9]*[.e]/.test(before);
  return `${value}${fraction ? ".0" : ""}${suffix}`;
}

/** The lines with all blocks expanded. */
function expand(
  lines: readonly string[],
  names: Readonly<Record<string, number>>,
  loops: ReadonlySet<string> = new Set(),
): string[] {
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const [, kind, rest] = /^\s*\/\/#(repeat|if) (.+)$/.exec(lines[at]!) ?? [];
    if (kind === undefined) {
      out.push(lines[at]!);
      continue;
    }
    const { other, end } = blockAt(lines, at);
    if (kind === "if") {
      const value = names[rest!.trim()];
      if (value === undefined) {
        throw new Error(`expandTemplate: expected a known constant but got "${lines[at]!.trim()}"`);
      }
      const taken = value ? lines.slice(at + 1, other) : lines.slice(other + 1, end);
      out.push(...expand(taken, names, loops));
    } else out.push(...repeat(rest!, lines.slice(at + 1, end), names, loops));
    at = end;
  }
  return out;
}

/** The end of the block that begins at line `at`, and its `//#else`; the end again if it has none. */
function blockAt(lines: readonly string[], at: number): { other: number; end: number } {
  let depth = 1;
  let other: number | undefined;
  for (let end = at + 1; end < lines.length; end++) {
    if (/^\s*\/\/#(repeat|if) /.test(lines[end]!)) depth++;
    if (/^\s*\/\/#else\b/.test(lines[end]!) && depth === 1) other = end;
    if (/^\s*\/\/#end\b/.test(lines[end]!) && --depth === 0) return { other: other ?? end, end };
  }
  throw new Error(`expandTemplate: expected an //#end but got none for "${lines[at]!.trim()}"`);
}

/** Repeats a block for each value of its variable. */
function repeat(
  head: string,
  body: readonly string[],
  names: Readonly<Record<string, number>>,
  loops: ReadonlySet<string>,
): string[] {
  const [, word, list] = /^(\w+) of (.+)$/.exec(head) ?? [];
  if (word !== undefined) {
    return list!.trim().split(/\s+/).flatMap((value) =>
      expand(body.map((line) => line.replaceAll(`{${word}}`, () => value)), names, loops)
    );
  }
  const [, name, from, to] = /^(\w+) (.+?)\.\.(.+)$/.exec(head) ?? [];
  if (name === undefined) {
    throw new Error(
      `expandTemplate: expected "//#repeat name from..to" but got "//#repeat ${head}"`,
    );
  }
  const out: string[] = [];
  for (let i = bound(from!, names); i < bound(to!, names); i++) {
    const known = { ...names, [name]: i };
    // Expressions with a variable that an inner loop defines are left to that loop.
    const fill = (all: string, expression: string): string => {
      const words = expression.match(/\w+/g)!;
      const ready = words.every((word) => /^\d+$/.test(word) || Object.hasOwn(known, word));
      return ready && words.some((word) => loops.has(word) || word === name)
        ? String(bound(expression, known))
        : all;
    };
    const filled = body.map((line) => line.replaceAll(/\{(\w+(?:\s*[-+*]\s*\w+)*)\}/g, fill));
    out.push(...expand(filled, known, new Set([...loops, name])));
  }
  return out;
}

/** A sum of products of integers and names, such as `2*TILE+1`. */
function bound(expression: string, names: Readonly<Record<string, number>>): number {
  const factor = (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : names[text];
    if (value === undefined) {
      throw new Error(
        `expandTemplate: expected a known number but got "${text}" in "${expression}"`,
      );
    }
    return value;
  };
  const product = (text: string) =>
    text.split("*").reduce((all, part) => all * factor(part.trim()), 1);
  return expression.replaceAll(/\s*-\s*/g, "+-").split("+").filter((part) => part.trim()).reduce(
    (sum, part) => part.startsWith("-") ? sum - product(part.slice(1)) : sum + product(part),
    0,
  );
}
