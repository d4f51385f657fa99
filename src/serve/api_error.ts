/**
 * Errors as OpenAI's interface tells them.
 *
 * @module
 */

/** What is answered in place of a result. */
export class ApiError extends Error {
  /** Always `"ApiError"`. */
  override readonly name = "ApiError";
  /** The HTTP status. */
  readonly status: number;
  /** The field that is wrong, and a name for what is wrong with it. */
  readonly param: string | null;
  readonly code: string | null;

  /** `message` is for the person who called. */
  constructor(
    status: number,
    message: string,
    { param = null, code = null }: { param?: string | null; code?: string | null } = {},
  ) {
    super(message);
    this.status = status;
    this.param = param;
    this.code = code;
  }

  /** The body of the answer. */
  toJSON(): { error: Record<"message" | "type" | "param" | "code", string | null> } {
    const { message, status, param, code } = this;
    const type = status === 429
      ? "rate_limit_error"
      : status >= 500
      ? "server_error"
      : "invalid_request_error";
    return { error: { message, type, param, code } };
  }

  /** The answer. */
  toResponse(): Response {
    // The official clients try again by themselves then.
    const headers = new Headers(this.status === 429 ? { "retry-after": "1" } : {});
    return Response.json(this, { status: this.status, headers });
  }
}
