/**
 * The template step between a `.wgsl` file and the program that is compiled. A file is valid WGSL as it
 * stands; the step rewrites three things and nothing else:
 *
 * - `alias T = f32;` takes the value of the constant `T` (`enable f16;` is put in front when one is `f16`);
 * - `const TILE = 16u;` takes the value of the constant `TILE`, with the suffix it had;
 * - the lines between `//#repeat i 0..4` and `//#end` are written once for each value, `{i}` replaced by
 *   it; the bounds may be constants and sums and products of them, and blocks nest. naga does not unroll
 *   loops, so hot ones are unrolled here.
 *
 * @module
 */

/** Values for the names a program leaves open. */
export type Constants = Readonly<Record<string, number | string | boolean>>;

/** The program of `source` for these constants. Throws when a constant is not in the source. */
export function specialise(source: string, constants: Constants = {}): string {
  let text = source;
  for (const [name, value] of Object.entries(constants)) {
    const line = new RegExp(`^(const|alias) ${name}\\b([^=;\\n]*)=\\s*([^;]+);`, "m");
    const found = line.exec(text);
    if (!found) {
      throw new Error(`The program has no line "const ${name} = ...;" or "alias ${name} = ...;"`);
    }
    const filled = `${found[1]} ${name}${found[2]}= ${literal(name, value, found[3])};`;
    text = text.replace(line, () => filled);
  }
  const bounds: Record<string, number> = {};
  for (const [, name, value] of text.matchAll(/^const (\w+)[^=;\n]*=\s*(\d+)u?;/gm)) {
    bounds[name] = Number(value);
  }
  text = repeat(text.split("\n"), bounds).join("\n");
  const half = !/^enable f16;/m.test(text) &&
    /^alias \w+ = (f16|vec[234]<f16>);/m.test(text);
  return half ? `enable f16;\n${text}` : text;
}

/** `value` as the source wrote the constant before: with its suffix, or its decimal point. */
function literal(name: string, value: number | string | boolean, before: string): string {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) throw new Error(`The constant ${name} is ${value}, not a number`);
  const suffix = /^-?[0-9.]+(?:e[-+]?[0-9]+)?([iufh])$/i.exec(before.trim())?.[1] ?? "";
  const whole = Number.isInteger(value) && !String(value).includes("e");
  const fraction = whole && suffix !== "u" && suffix !== "i" &&
    /^-?[0-9]*[.e]/.test(before);
  return `${value}${fraction ? ".0" : ""}${suffix}`;
}

function repeat(
  lines: string[],
  names: Record<string, number>,
  loops: ReadonlySet<string> = new Set(),
): string[] {
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const head = /^\s*\/\/#repeat (\w+) (.+?)\.\.(.+)$/.exec(lines[at]);
    if (!head) {
      out.push(lines[at]);
      continue;
    }
    let depth = 1;
    let end = at;
    while (depth > 0) {
      if (++end >= lines.length) throw new Error(`"${lines[at].trim()}" has no //#end`);
      if (/^\s*\/\/#repeat /.test(lines[end])) depth++;
      if (/^\s*\/\/#end\b/.test(lines[end])) depth--;
    }
    const body = lines.slice(at + 1, end);
    const [, name, from, to] = head;
    for (let i = bound(from, names); i < bound(to, names); i++) {
      const known = { ...names, [name]: i };
      // What also names an inner loop's variable is left to that loop.
      const fill = (all: string, expression: string): string => {
        const words = expression.match(/\w+/g)!;
        const ready = words.every((word) => /^\d+$/.test(word) || Object.hasOwn(known, word));
        return ready && words.some((word) => loops.has(word) || word === name)
          ? String(bound(expression, known))
          : all;
      };
      const inner = body.map((line) => line.replaceAll(/\{(\w+(?:\s*[-+*]\s*\w+)*)\}/g, fill));
      out.push(...repeat(inner, known, new Set([...loops, name])));
    }
    at = end;
  }
  return out;
}

/** A sum of products of whole numbers and names, such as `2*TILE+1`. */
function bound(expression: string, names: Record<string, number>): number {
  const factor = (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : names[text];
    if (value === undefined) throw new Error(`"${text}" in "${expression}" is not a known number`);
    return value;
  };
  const product = (text: string) =>
    text.split("*").reduce((all, part) => all * factor(part.trim()), 1);
  return expression.replaceAll(/\s*-\s*/g, "+-").split("+").filter((part) => part.trim()).reduce(
    (sum, part) => part.startsWith("-") ? sum - product(part.slice(1)) : sum + product(part),
    0,
  );
}
