// The page that trains in the browser, in Debian's Chromium: on WebGPU (SwiftShader) and on the CPU.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { build, serve } from "../../examples/browser/serve.ts";
import { openPage, type Page } from "../support/chromium.ts";
import { inFolder } from "../support/examples.ts";

const STATUS = `document.querySelector("#status").textContent`;
const STEP = `Number(/^step (\\d+)/.exec(${STATUS})?.[1] ?? 0)`;
const BUTTON = `document.querySelector("#train")`;
const WRITE = `document.querySelector("#write button")`;

/** What a person does with the page, and what must come of it. */
async function use(page: Page, device: RegExp): Promise<void> {
  await page.until(`${BUTTON}?.disabled === false`);
  assert.match(await page.evaluate(`document.querySelector("#device").textContent`), device);

  await page.evaluate(`${BUTTON}.click()`);
  await page.until(`${STEP} >= 50`, 240);
  await page.evaluate(`${BUTTON}.click()`);
  assert.equal(await page.evaluate(`${BUTTON}.textContent`), "Resume");
  assert.match(await page.evaluate(`document.querySelector("#curve").innerHTML`), /<svg .*train/s);
  // A model that has learned nothing has a loss of ln(1024) = 6.9.
  const loss = Number(/loss ([\d.]+)/.exec(await page.evaluate(STATUS))![1]);
  assert.ok(loss < 6.5, `loss ${loss}`);

  await page.evaluate(`document.querySelector("#prompt").value = "Call me"; ${WRITE}.click()`);
  await page.until(`document.querySelector("#attention svg") !== null`);
  const text: string = await page.evaluate(`document.querySelector("#text").textContent`);
  assert.match(text, /^Call me.{50}/s);
  const picture: string = await page.evaluate(`document.querySelector("#attention").innerHTML`);
  assert.equal(picture.match(/<image /g)?.length, 1 + 3 * 4); // the scale and three layers of four heads

  const stopped: number = await page.evaluate(STEP);
  await page.evaluate(`${BUTTON}.click()`);
  await page.until(`${STEP} > ${stopped + 3}`);
  await page.evaluate(`${BUTTON}.click()`);

  await page.evaluate(`{
    const data = new DataTransfer();
    data.items.add(new File(["the cat sat on the mat. ".repeat(1000)], "cats.txt"));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  }`);
  await page.until(`document.querySelector("#source").textContent === "cats.txt"`);
  assert.equal(await page.evaluate(`${BUTTON}.textContent`), "Train");
}

Deno.test("the page in the browser trains, writes and shows its attention", (t) =>
  inFolder(async (path) => {
    const folder = pathToFileURL(`${path}/`);
    await build(folder);
    await t.step("on WebGPU", async () => {
      await using server = serve(0, { folder });
      const url = `http://localhost:${server.addr.port}/?device=webgpu`;
      await using page = await openPage(url, { webgpu: true });
      await use(page, /swiftshader/i);
      assert.equal(await page.evaluate("crossOriginIsolated"), true);
    });
    await t.step("on the CPU, where there is no WebGPU and no isolation", async () => {
      await using server = serve(0, { folder, isolated: false });
      const url = `http://localhost:${server.addr.port}/`;
      await using page = await openPage(url, { webgpu: false });
      await use(page, /^CPU, 1 thread, WASM SIMD$/);
      assert.equal(await page.evaluate("crossOriginIsolated"), false);
    });
  }));
