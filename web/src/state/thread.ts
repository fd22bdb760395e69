/**
 * The messages of one opened conversation, oldest first, in the server's order: what is live comes after, older pages come
 * before (S4). Pure.
 *
 * The order is never taken from `created_at`: WhatsApp's own times have whole seconds and may lie.
 */
import type { Message, Page, Problem } from "../client";
import { merged } from "./status";

export interface Thread {
  readonly messages: readonly Message[];
  /** A page has been asked for and is not here yet. */
  readonly loading: boolean;
  /** At least one page has arrived: an empty list now means an empty conversation. */
  readonly loaded: boolean;
  /** Nothing older exists. */
  readonly complete: boolean;
  readonly problem?: Problem | undefined;
}

export const emptyThread: Thread = { messages: [], loading: false, loaded: false, complete: false };

/** A new message at the end; a known one is merged where it stands. */
export function appended(thread: Thread, message: Message): Thread {
  if (thread.messages.some(({ id }) => id === message.id)) {
    return changed(thread, message.id, (known) => merged(known, message));
  }
  return { ...thread, messages: [...thread.messages, message] };
}

/** A page of history, newest first as the server gives it, goes before what is here. */
export function olderPage(thread: Thread, page: Page<Message>): Thread {
  const told = new Map(page.items.map((message) => [message.id, message]));
  const kept = thread.messages.map((known) => {
    const again = told.get(known.id);
    told.delete(known.id);
    return again ? merged(known, again) : known;
  });
  const older = [...told.values()].reverse();
  return {
    messages: [...older, ...kept],
    loading: false,
    loaded: true,
    complete: page.next === null || page.items.length === 0,
  };
}

export function changed(thread: Thread, id: string, change: (known: Message) => Message): Thread {
  let found = false;
  const messages = thread.messages.map((known) => {
    if (known.id !== id) return known;
    found = true;
    return change(known);
  });
  return found ? { ...thread, messages } : thread;
}
