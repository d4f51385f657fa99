/**
 * Lines out of bytes.
 *
 * @module
 */

/** Turns UTF-8 bytes into lines, without their ends. */
export class TextLineStream extends TransformStream<Uint8Array, string> {
  /** Makes one. */
  constructor() {
    const decoder = new TextDecoder();
    let rest = "";
    super({
      transform(bytes, controller) {
        const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
        rest = lines.pop()!;
        for (const line of lines) controller.enqueue(line);
      },
      flush(controller) {
        if (rest !== "") controller.enqueue(rest);
      },
    });
  }
}
