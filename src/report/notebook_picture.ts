/**
 * Pictures in a notebook of Deno's Jupyter kernel.
 *
 * @module
 */

/** What the kernel adds to `Deno`; its types are only available with `--unstable`. */
interface Jupyter {
  broadcast(type: string, content: Readonly<Record<string, unknown>>): Promise<void>;
}

/**
 * An SVG, such as those of `curvesSvg` and `attentionPicture`, that a notebook shows if it is the last value of a cell;
 * `text` is shown where pictures are not supported.
 *
 * @example
 * ```ts
 * import { NotebookPicture } from "@dinograd/dinograd";
 *
 * new NotebookPicture("<svg xmlns='http://www.w3.org/2000/svg'/>", "an empty picture");
 * ```
 */
export class NotebookPicture {
  readonly #id = crypto.randomUUID();
  #shown = false;

  /** The SVG. */
  svg: string;
  /** The text shown where pictures are not supported. */
  text: string;

  /** Wraps an SVG. */
  constructor(svg: string, text?: string) {
    this.svg = svg;
    this.text = text ?? "picture";
  }

  /** Returns the data that the notebook displays. */
  [Symbol.for("Jupyter.display")](): { "text/plain": string; "image/svg+xml": string } {
    return this.#display();
  }

  /** Shows the picture below the running cell, or replaces the one that is shown by `svg`; only in a notebook. */
  async show(svg?: string): Promise<void> {
    this.svg = svg ?? this.svg;
    const { jupyter } = Deno as unknown as { jupyter: Jupyter };
    await jupyter.broadcast(this.#shown ? "update_display_data" : "display_data", {
      data: this.#display(),
      metadata: {},
      transient: { display_id: this.#id },
    });
    this.#shown = true;
    // Deno 2.9's kernel may announce the end of a cell before its last message, which nbconvert then drops.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #display(): { "text/plain": string; "image/svg+xml": string } {
    return { "text/plain": this.text, "image/svg+xml": this.svg };
  }
}
