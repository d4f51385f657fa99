// What a preparation of token shards remembers, in a file that is always whole.
import { join } from "../../io/node_builtins.ts";
import { writeFileAtomically } from "../../io/atomic_file.ts";
import { FileFormatError } from "../../io/errors.ts";
import type { ShardState } from "./shard_stream.ts";

/** Where the reading of a file stands; what the numbers mean is up to the kind of file. */
export type Place = Record<string, number>;

/** A preparation as JSON keeps it. */
export interface Manifest extends ShardState {
  /** Version of this format. */
  version: 1;
  /** Whose ids the tokens are. */
  tokenizer: "gpt2";
  /** First part of the shards' names. */
  prefix: string;
  /** Tokens of each shard but the last. */
  tokensPerShard: number;
  /** Where the text of a document is: a column of parquet, a field of JSON. */
  field: string;
  /** Where the files came from, a revision of a repository for one. */
  origin?: string | undefined;
  /** The files of the corpus in order. */
  files: { name: string; bytes: number; sha256?: string | undefined }[];
  /** The file that is being read; their number when all are read. */
  file: number;
  /** Where in that file the next document is. */
  place: Place;
  /** Tokens up to there, of all shards. */
  total: number;
  /** Documents up to there. */
  documents: number;
  /** Whether the whole corpus is in the shards. */
  complete: boolean;
}

const NAME = "prepare.json";

/**
 * Reads the manifest of a folder; `undefined` where there is none.
 *
 * @throws {FileFormatError} where it is damaged, or of another version
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const file = join(folder, NAME);
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text);
  } catch (cause) {
    throw new FileFormatError("is not JSON", { file, cause });
  }
  const problem = problemOf(manifest);
  if (problem) throw new FileFormatError(problem, { file });
  return manifest;
}

/** Writes the manifest of a folder in one piece. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  await writeFileAtomically(join(folder, NAME), async (file) => {
    await file.write(new TextEncoder().encode(JSON.stringify(manifest, undefined, 2) + "\n"));
  });
}

function problemOf(manifest: Manifest | null): string | undefined {
  if (manifest?.version !== 1) return `expected version 1 but found ${manifest?.version}`;
  const { file, shard, tokens, total, documents, tokensPerShard, place, files } = manifest;
  const counts = { file, shard, tokens, total, documents, tokensPerShard, ...place };
  for (const [name, value] of Object.entries(counts)) {
    if (!Number.isSafeInteger(value) || value < 0) {
      return `expected an integer as ${name} but got ${value}`;
    }
  }
  if (!Array.isArray(files) || file > files.length) return `has no file of number ${file}`;
  if (tokens >= tokensPerShard) return `has ${tokens} tokens in a shard of ${tokensPerShard}`;
}
