// Reading JSON written by others: errors with positions, and short forms of values for messages.

/** Longer texts are not searched for the position of their error, which takes about twenty times as long as parsing. */
const MAX_SEARCHED = 2 ** 20;

/**
 * Like `JSON.parse`, but the message always includes the position of the error, which V8 omits for unexpected tokens.
 *
 * @throws {SyntaxError} where it is not JSON
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as SyntaxError;
    if (/ at position \d/.test(message)) throw error;
    const position = message.startsWith("Unexpected end")
      ? `${text.length}`
      : text.length > MAX_SEARCHED
      ? `below ${text.length}`
      : `${errorPosition(text)}`;
    throw new SyntaxError(`${message.replaceAll("\n", "\\n")} at position ${position}`);
  }
}

/**
 * Formats a JSON value for a message: as JSON, truncated. Takes no longer for a value that is large or deeply nested.
 */
export function shown(value: unknown, maxLength: number = 60): string {
  const text = beginning(value, maxLength);
  return text.length > maxLength ? `${text.slice(0, maxLength)}...` : text;
}

/** Returns the beginning of a value's JSON, at least `maxLength + 1` characters if there are as many. */
function beginning(value: unknown, maxLength: number): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, maxLength + 1));
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "nothing";
  const isArray = Array.isArray(value);
  let text = isArray ? "[" : "{";
  // Each level uses up a character of what is left, which limits the depth, too.
  for (const [key, item] of isArray ? value.entries() : Object.entries(value)) {
    if (text.length > maxLength) return text;
    if (text.length > 1) text += ",";
    if (!isArray) text += `${beginning(key, maxLength)}:`;
    text += beginning(item, maxLength - text.length);
  }
  return text + (isArray ? "]" : "}");
}

/** Returns the length of the longest beginning that could still become JSON. */
function errorPosition(text: string): number {
  let [good, bad] = [0, text.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (mayGoOn(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

function mayGoOn(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as SyntaxError;
    const position = / at position (\d+)/.exec(message)?.[1];
    return position === undefined
      ? message.startsWith("Unexpected end")
      : Number(position) >= text.length;
  }
}
