/**
 * Makes sure that WebGPU finds an adapter, so that the tests can run on it: on Debian and Ubuntu without a
 * GPU it installs Mesa's software adapter. Run by `deno task test`.
 */
if (await hasAdapter()) Deno.exit(0);
console.error("No WebGPU adapter: installing Mesa's software Vulkan driver (apt-get) ...");
const packages = ["mesa-vulkan-drivers", "libvulkan1"];
const prefix = Deno.uid() === 0 ? [] : ["sudo", "-n"];
const installed = await run([...prefix, "apt-get", "update", "-qq"]) &&
  await run([...prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", ...packages]);
if (!installed) fail("apt-get could not install it");
// An adapter that was not there when Deno started is found by a new process only.
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["eval", "Deno.exit(await navigator.gpu?.requestAdapter() ? 0 : 1)"],
}).output();
if (code !== 0) fail("it is installed, but WebGPU still finds no adapter");

async function hasAdapter(): Promise<boolean> {
  return Boolean(await navigator.gpu?.requestAdapter());
}

async function run([command, ...args]: string[]): Promise<boolean> {
  try {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    const { success } = await new Deno.Command(command, { args, env, stdout: "null" }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function fail(reason: string): never {
  console.error(
    `${reason}; install a Vulkan driver (a GPU's own, or on Debian mesa-vulkan-drivers and libvulkan1)`,
  );
  Deno.exit(1);
}
