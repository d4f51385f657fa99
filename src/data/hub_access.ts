/**
 * What models and data sets of the Hugging Face hub have in common.
 *
 * @module
 */

/** The hub's address without a slash at its end; Hugging Face's own where none is given. */
export function hubEndpoint(endpoint: string = "https://huggingface.co"): string {
  return endpoint.replace(/\/+$/, "");
}

/** A path of the hub as part of an address. */
export function escapedPath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** The variables that hold an access token, by precedence, as in Hugging Face's own library. */
const TOKEN_VARIABLES = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/**
 * The access token to show the hub: the one given, else the environment's where reading it is allowed already (nobody is
 * asked for permission). An empty one is none.
 */
export function hubToken(given: string | undefined): string | undefined {
  if (given !== undefined) return given || undefined;
  for (const variable of TOKEN_VARIABLES) {
    const { state } = Deno.permissions.querySync({ name: "env", variable });
    const token = state === "granted" ? Deno.env.get(variable)?.trim() : undefined;
    if (token) return token;
  }
}

/** What to do about a status that the hub answered with; empty where nobody but the hub can do anything. */
export function hubAdvice(status: number | undefined, token: string | undefined): string {
  switch (status) {
    case 401:
    case 403:
      return token
        ? "the access token (HF_TOKEN) gives no access to it; for some the terms have to be accepted on the hub's page"
        : "check the name, or set HF_TOKEN to an access token (with --allow-env=HF_TOKEN)";
    case 404:
      return "check the name and the revision";
    case 429:
      return token
        ? "too much was asked for in a short time; go on later"
        : "too much was asked for in a short time; go on later, or set HF_TOKEN to an access token, " +
          "with which more is allowed";
    default:
      return "";
  }
}
