/**
 * Questions the page asks of its state. Pure.
 */
import type { Conversation, Message, Pending } from "../client";
import type { State } from "./state";

/** Newest activity first; of equals the smaller id, so that the order never flickers. */
export function sortedConversations(conversations: ReadonlyMap<string, Conversation>): Conversation[] {
  return [...conversations.values()].sort(
    (a, b) => activity(b) - activity(a) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0),
  );
}

function activity(conversation: Conversation): number {
  return Date.parse(conversation.updated_at) || 0;
}

/** Own messages of one conversation that wait for the server. */
export function pendingIn(state: State, conversation: string): Pending[] {
  return state.pending.filter(({ command }) => command.conversation === conversation);
}

/** The message up to which everything shown came from somebody else or before: what "read" refers to. */
export function newestFromOthers(messages: readonly Message[]): Message | undefined {
  return messages.findLast(({ direction }) => direction === "in");
}

export function totalUnread(conversations: ReadonlyMap<string, Conversation>): number {
  let sum = 0;
  for (const { unread } of conversations.values()) sum += unread;
  return sum;
}

/** The message as it will look once the server has it, for one that still waits. */
export function asMessage({ command, queuedAt, error }: Pending, user: string): Message {
  return {
    id: command.id,
    conversation: command.conversation,
    command_id: command.id,
    direction: "out",
    sender: { kind: "user", id: user },
    kind: command.kind,
    text: command.text,
    status: error ? "failed" : "sending",
    ...(error && { error }),
    created_at: queuedAt,
    updated_at: queuedAt,
  };
}
