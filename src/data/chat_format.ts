// How the messages of a conversation become a text.
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** A message of a conversation. */
export interface ChatMessage {
  /** The speaker: `system`, `user` or `assistant`; a template may know other roles. */
  readonly role: string;
  /** The text of the message. */
  readonly content: string;
}

/**
 * Writes a conversation as the text that a model reads, with special tokens as text. With `addGenerationPrompt` it ends
 * where the assistant's answer begins. Adding messages only extends the text.
 */
export type ChatFormat = (
  messages: readonly ChatMessage[],
  options: { readonly addGenerationPrompt: boolean },
) => string;

/**
 * Returns a format for models without a template: lines that begin with `User:` and `Assistant:`, with a system message
 * as a paragraph of its own before them. `end`, such as `<|endoftext|>`, follows each answer.
 */
export function plainChatFormat(end?: string): ChatFormat {
  return (messages, { addGenerationPrompt }) =>
    messages.map(({ role, content }) =>
      role === "system"
        ? `${content}\n\n`
        : role === "assistant"
        ? `Assistant: ${content}${end ?? ""}\n`
        : `${role.slice(0, 1).toUpperCase()}${role.slice(1)}: ${content}\n`
    ).join("") + (addGenerationPrompt ? "Assistant:" : "");
}

/** Writes conversations for a model. */
export interface ChatTemplate {
  /**
   * Returns the ids of a conversation, up to where the assistant's next message begins. Throws an `Error` for a
   * conversation that the template refuses.
   */
  encode(messages: readonly ChatMessage[], tokenizer: Tokenizer): Uint32Array;
  /** Returns the text of a conversation, with special tokens as text. Throws as `encode` does. */
  readonly render: ChatFormat;
  /** Strings before which an answer ends. */
  readonly stop: readonly string[];
  /** The source in Jinja and what it may refer to, which `saveModel` and `saveGguf` store. Default: nothing to store. */
  readonly jinja?: {
    readonly source: string;
    readonly variables: Readonly<Record<string, unknown>>;
  };
}
