/**
 * Runs all tests with a WebGPU adapter: `deno task test [arguments of deno test]`. On Linux that is Mesa's software
 * adapter out of the distribution's package, whatever else the machine has, so that everyone tests on the same;
 * on Debian and Ubuntu it is installed where it is missing. `VK_DRIVER_FILES` chooses another driver. The first line
 * says which adapter it is.
 */
const linux = Deno.build.os === "linux";
/** What Debian's mesa-vulkan-drivers installs. */
const DRIVER = `/usr/share/vulkan/icd.d/lvp_icd.${Deno.build.arch}.json`;
const chosen = Deno.env.get("VK_DRIVER_FILES") ?? Deno.env.get("VK_ICD_FILENAMES");
const env: Record<string, string> = {
  DINOGRAD_REQUIRE_WEBGPU: "1",
  ...linux && {
    // Without it Deno may take Mesa's OpenGL adapter, on which our kernels crash it.
    DENO_WEBGPU_BACKEND: "vulkan",
    // Unloading the driver while Deno tears its threads down crashes about one run in twelve at its end.
    VK_LOADER_DISABLE_DYNAMIC_LIBRARY_UNLOADING: "1",
    XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? "/tmp",
    // The older name too, for loaders that do not know the newer.
    ...!chosen && { VK_DRIVER_FILES: DRIVER, VK_ICD_FILENAMES: DRIVER },
  },
};

let adapter = await findAdapter();
if (!adapter) {
  console.error("No WebGPU adapter: installing Mesa's software Vulkan driver (apt-get) ...");
  const packages = ["mesa-vulkan-drivers", "libvulkan1"];
  const root = Deno.build.os !== "windows" && Deno.uid() === 0 ? [] : ["sudo", "-n"];
  const quiet = ["-y", "-qq", "--no-install-recommends"];
  const installed = await run([...root, "apt-get", "update", "-qq"]) &&
    await run([...root, "apt-get", "install", ...quiet, ...packages]);
  if (!installed) fail("apt-get could not install it");
  adapter = await findAdapter();
  if (!adapter) fail("it is installed, but WebGPU still finds no adapter");
}
console.log(`tests on ${adapter}${linux ? `, ${chosen ?? DRIVER}${await packageVersion()}` : ""}`);
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "-A", "--doc", "--quiet", ...Deno.args],
  env,
}).spawn().status;
Deno.exit(code);

/**
 * The adapter's description, undefined where there is none. Asks in a process of its own: one that is running does not
 * find a driver that came after it.
 */
async function findAdapter(): Promise<string | undefined> {
  const probe = "const adapter = await navigator.gpu?.requestAdapter();" +
    "if (!adapter) Deno.exit(1);" +
    "const { vendor, device, description } = adapter.info;" +
    "console.log([description, vendor, device].filter(Boolean).join(', '));";
  const args = ["eval", probe];
  const child = new Deno.Command(Deno.execPath(), { args, env, stderr: "null" });
  const { success, stdout } = await child.output();
  return success ? new TextDecoder().decode(stdout).trim() : undefined;
}

/** The version of the package that the driver comes from, as Debian's package manager tells it. */
async function packageVersion(): Promise<string> {
  if (chosen) return "";
  try {
    const args = ["-W", "-f", "${Package} ${Version}", "mesa-vulkan-drivers"];
    const { success, stdout } = await new Deno.Command("dpkg-query", { args }).output();
    return success ? ` (${new TextDecoder().decode(stdout)})` : "";
  } catch {
    return "";
  }
}

async function run([command, ...args]: string[]): Promise<boolean> {
  try {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    return (await new Deno.Command(command, { args, env, stdout: "null" }).output()).success;
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
