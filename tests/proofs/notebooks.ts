// The notebooks run from start to end in Deno's kernel, by Debian's jupyter-nbconvert.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { inFolder } from "../support/examples.ts";

interface Output {
  output_type: string;
  data?: Record<string, string | string[]>;
}

/** The outputs of all cells of a notebook that is executed with a kernel of this Deno. */
async function outputsOf(name: string, folder: string): Promise<Output[]> {
  const env = { NO_COLOR: "1", JUPYTER_DATA_DIR: folder, JUPYTER_PATH: folder };
  await run(Deno.execPath(), ["jupyter", "--install", "--force"], env);
  const path = fileURLToPath(new URL(`../../examples/notebooks/${name}.ipynb`, import.meta.url));
  const convert = ["--to", "notebook", "--execute", path, "--output-dir", folder];
  await run("jupyter-nbconvert", convert, env);
  const { cells } = JSON.parse(await Deno.readTextFile(`${folder}/${name}.ipynb`));
  return cells.flatMap(({ outputs = [] }: { outputs?: Output[] }) => outputs);
}

async function run(command: string, args: string[], env: Record<string, string>): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args, env }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

const textOf = ({ data }: Output, type: string): string => [data?.[type] ?? []].flat().join("");
const picturesOf = (outputs: Output[]) =>
  outputs.map((output) => textOf(output, "image/svg+xml")).filter((svg) => svg.startsWith("<svg"));

Deno.test("the notebook from tensors to a model shows values, gradients and a curve", () =>
  inFolder(async (folder) => {
    const outputs = await outputsOf("tensors_to_a_model", folder);
    assert.match(textOf(outputs.find(({ data }) => data)!, "text/plain"), /\[\[1, 2\],/);
    assert.equal(picturesOf(outputs).length, 1); // updated in its place, not drawn ten times
    assert.ok(Number(textOf(outputs.at(-1)!, "text/plain").replace(/[^\d.e-]/g, "")) < 0.1);
  }));

Deno.test("the notebook of GPT-2 on Moby Dick shows the curve, a text and attention maps", () =>
  inFolder(async (folder) => {
    const outputs = await outputsOf("gpt2_on_moby_dick", folder);
    assert.equal(picturesOf(outputs).length, 2);
    const texts = outputs.map((output) => textOf(output, "text/plain"));
    assert.ok(texts.some((text) => text.includes("The whale")), JSON.stringify(texts));
  }));
