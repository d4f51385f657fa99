/**
 * Pictures in a notebook of Deno's Jupyter kernel.
 *
 * @module
 */

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

  /** A picture of an SVG. */
  constructor(public svg: string, public text = "picture") {}

  /** What the notebook takes. */
  [Symbol.for("Jupyter.display")](): { "text/plain": string; "image/svg+xml": string } {
    return { "text/plain": this.text, "image/svg+xml": this.svg };
  }

  /** Shows the picture below the running cell, or puts `svg` in the place of the one that stands there. */
  async show(svg: string = this.svg): Promise<void> {
    this.svg = svg;
    const data = this[Symbol.for("Jupyter.display") as never] as () => Record<string, string>;
    await Deno.jupyter.broadcast(this.#shown ? "update_display_data" : "display_data", {
      data: data.call(this),
      metadata: {},
      transient: { display_id: this.#id },
    });
    this.#shown = true;
  }
}
