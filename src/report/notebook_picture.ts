/**
 * Pictures in a notebook of Deno's Jupyter kernel.
 *
 * @module
 */

/** What the kernel adds to `Deno`; its types come with `--unstable` alone. */
interface Jupyter {
  broadcast(type: string, content: Readonly<Record<string, unknown>>): Promise<void>;
}

/**
 * An SVG, such as `curvesSvg` and `attentionPicture` draw, that a notebook shows where it is a cell's last value; `text` stands
 * where there are no pictures.
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
  /** What stands where there are no pictures. */
  text: string;

  /** A picture of an SVG. */
  constructor(svg: string, text?: string) {
    this.svg = svg;
    this.text = text ?? "picture";
  }

  /** What the notebook takes. */
  [Symbol.for("Jupyter.display")](): { "text/plain": string; "image/svg+xml": string } {
    return this.#display();
  }

  /** Shows the picture below the running cell, or puts `svg` in the place of the one that stands there; in a notebook only. */
  async show(svg?: string): Promise<void> {
    this.svg = svg ?? this.svg;
    const { jupyter } = Deno as unknown as { jupyter: Jupyter };
    await jupyter.broadcast(this.#shown ? "update_display_data" : "display_data", {
      data: this.#display(),
      metadata: {},
      transient: { display_id: this.#id },
    });
    this.#shown = true;
    // Deno 2.9's kernel may announce a cell's end before the last message of the cell, which nbconvert then drops.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #display(): { "text/plain": string; "image/svg+xml": string } {
    return { "text/plain": this.text, "image/svg+xml": this.svg };
  }
}
