/** Reads a safetensors file of F32 tensors with code of its own, so that the library's is checked by it. */
export async function readSafetensorsForTest(path: string): Promise<Map<string, Float32Array>> {
  const bytes = await Deno.readFile(path);
  const view = new DataView(bytes.buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const tensors = new Map<string, Float32Array>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, data_offsets: [from, to] } = entry as { dtype: string; data_offsets: number[] };
    if (dtype !== "F32") continue;
    tensors.set(name, new Float32Array(bytes.buffer.slice(8 + length + from, 8 + length + to)));
  }
  return tensors;
}
