// How the messages of a conversation become a text.

/** A message of a conversation. */
export interface ChatMessage {
  /** Who says it: `system`, `user` or `assistant`; a template may know others. */
  readonly role: string;
  /** What is said. */
  readonly content: string;
}

/**
 * The text of a conversation as a model reads it, special tokens by their texts. With `addGenerationPrompt` it ends where
 * the assistant's answer begins. More messages only make it longer.
 */
export type ChatFormat = (
  messages: readonly ChatMessage[],
  options: { readonly addGenerationPrompt: boolean },
) => string;

/**
 * A format for models without a template: lines that begin with `User:` and `Assistant:`, a system message in a paragraph of
 * its own before them; `end` is put after each answer, such as `<|endoftext|>`.
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
