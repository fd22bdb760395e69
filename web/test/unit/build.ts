/**
 * Short ways to make messages, conversations and events for the unit tests.
 */
import type { Conversation, InboxEvent, KnownEvent, Message } from "../../src/client/types";

export const EPOCH = "01JDEPOCH";
export const AT = "2026-11-20T20:11:05.123Z";

export function message(id: string, over: Partial<Message> = {}): Message {
  return {
    id,
    conversation: "c1",
    direction: "in",
    sender: { kind: "contact", id: "p1", name: "Ana" },
    kind: "text",
    text: `text of ${id}`,
    status: "delivered",
    created_at: AT,
    updated_at: AT,
    ...over,
  };
}

/** An own message as the server tells it. */
export function own(id: string, over: Partial<Message> = {}): Message {
  return message(id, { direction: "out", sender: { kind: "user", id: "alice" }, status: "sending", ...over });
}

export function conversation(id: string, over: Partial<Conversation> = {}): Conversation {
  return { id, kind: "whatsapp", title: `Title ${id}`, unread: 0, updated_at: AT, ...over };
}

type Of<Type, Known = KnownEvent> = Known extends { type: infer T; data: infer Data }
  ? Type extends T
    ? Data
    : never
  : never;

export function event<Type extends KnownEvent["type"]>(
  seq: number,
  type: Type,
  data: Of<Type>,
  over: Partial<Pick<KnownEvent, "conversation" | "unread" | "epoch" | "at">> = {},
): InboxEvent {
  const envelope = { v: 1, epoch: EPOCH, seq, id: `e${seq}`, at: AT, account: "acme", conversation: "c1" };
  return { ...envelope, type, data, ...over } as InboxEvent;
}
