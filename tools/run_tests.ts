/**
 * Runs all tests with a WebGPU adapter: `deno task test [arguments of deno test]`. On Debian and Ubuntu without a
 * GPU it first installs Mesa's software adapter.
 */
const linux = Deno.build.os === "linux";
const env: Record<string, string> = {
  DINOGRAD_REQUIRE_WEBGPU: "1",
  ...linux && {
    // Without it Deno may take Mesa's OpenGL adapter, on which our kernels crash it.
    DENO_WEBGPU_BACKEND: "vulkan",
    // Unloading the driver while Deno tears its threads down crashes about one run in twelve at its end.
    VK_LOADER_DISABLE_DYNAMIC_LIBRARY_UNLOADING: "1",
    XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? "/tmp",
  },
};

if (!await hasAdapter()) {
  console.error("No WebGPU adapter: installing Mesa's software Vulkan driver (apt-get) ...");
  const packages = ["mesa-vulkan-drivers", "libvulkan1"];
  const root = Deno.build.os !== "windows" && Deno.uid() === 0 ? [] : ["sudo", "-n"];
  const quiet = ["-y", "-qq", "--no-install-recommends"];
  const installed = await run([...root, "apt-get", "update", "-qq"]) &&
    await run([...root, "apt-get", "install", ...quiet, ...packages]);
  if (!installed) fail("apt-get could not install it");
  if (!await hasAdapter()) fail("it is installed, but WebGPU still finds no adapter");
}
const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "-A", "--doc", "--quiet", ...Deno.args],
  env,
}).spawn().status;
Deno.exit(code);

/** Asks in a process of its own: one that is running does not find a driver that came after it. */
async function hasAdapter(): Promise<boolean> {
  const probe = "Deno.exit(await navigator.gpu?.requestAdapter() ? 0 : 1)";
  const child = new Deno.Command(Deno.execPath(), { args: ["eval", probe], env, stderr: "null" });
  return (await child.output()).success;
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
