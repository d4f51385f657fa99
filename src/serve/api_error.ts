/**
 * Errors in the form of OpenAI's interface.
 *
 * @module
 */

/** An error that is answered in place of a result. */
export class ApiError extends Error {
  /** Always `"ApiError"`. */
  override readonly name = "ApiError";
  /** The HTTP status. */
  readonly status: number;
  /** The name of the field that is wrong, and a code for what is wrong with it. */
  readonly param: string | null;
  readonly code: string | null;

  /** `message` is for the caller. */
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

  /** Returns the body of the response. */
  toJSON(): { error: Record<"message" | "type" | "param" | "code", string | null> } {
    const { message, status, param, code } = this;
    const type = status === 429
      ? "rate_limit_error"
      : status >= 500
      ? "server_error"
      : "invalid_request_error";
    return { error: { message, type, param, code } };
  }

  /** Returns the response. */
  toResponse(): Response {
    // The official clients then retry by themselves.
    const headers = new Headers(this.status === 429 ? { "retry-after": "1" } : {});
    return Response.json(this, { status: this.status, headers });
  }
}
