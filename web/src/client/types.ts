/**
 * The shapes that cross the wire, as the contract names them (docs/contract.md, sections 5 and 6): inbox events (I7, O10),
 * outbox commands (O1), snapshot and history (S1-S4).
 *
 * A server may send fields, event types and statuses that are not listed here; readers ignore what they do not know.
 * Not here: what a page makes of them (`../state`), and how they travel (`connection.ts`, `http.ts`).
 */

/** Where an inbox stands: `seq` counts 1, 2, 3 … without a gap inside one `epoch`. */
export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

/** `unknown` = the attempt's outcome is open; it ranks as `sending` and ends with any status. */
export type Status = "sending" | "unknown" | "sent" | "delivered" | "read" | "played" | "failed";

export type MessageKind =
  | "text"
  | "image"
  | "audio"
  | "video"
  | "document"
  | "sticker"
  | "location"
  | "contacts"
  | "interactive"
  | "template"
  | "order"
  | "system"
  | "unsupported";

export interface MessageError {
  readonly code: string;
  readonly title: string;
  readonly detail?: string;
  /** The code WhatsApp itself gave, e.g. 131047 for a closed 24-hour window. */
  readonly meta_code?: number;
}

export interface Sender {
  readonly kind: "contact" | "user" | "system";
  readonly id: string;
  readonly name?: string;
}

export interface Media {
  readonly id?: string;
  readonly state: "pending" | "ready" | "failed";
  readonly mime: string;
  readonly size?: number;
  readonly sha256?: string;
  readonly name?: string;
  readonly url?: string;
}

export interface Reaction {
  readonly by: Sender;
  readonly emoji: string;
}

export interface Message {
  readonly id: string;
  readonly conversation: string;
  readonly command_id?: string;
  readonly direction: "in" | "out";
  readonly sender: Sender;
  readonly kind: MessageKind;
  readonly text?: string;
  readonly media?: Media;
  readonly payload?: unknown;
  readonly reply_to?: string;
  readonly reactions?: readonly Reaction[];
  readonly status: Status;
  readonly error?: MessageError;
  readonly wamid?: string;
  readonly created_at: string;
  readonly updated_at: string;
}

export interface Contact {
  readonly id: string;
  readonly name: string;
  readonly phone?: string;
  readonly user_id?: string;
  readonly username?: string;
}

export interface Conversation {
  readonly id: string;
  readonly kind: "whatsapp" | "direct" | "group";
  readonly title: string;
  readonly contact?: Contact;
  readonly number?: string;
  readonly members?: readonly string[];
  readonly unread: number;
  readonly last_message?: Message;
  readonly assignee?: string;
  readonly labels?: readonly string[];
  readonly state?: "open" | "snoozed" | "closed";
  /** WhatsApp takes free text only until then; afterwards templates alone. */
  readonly window_expires_at?: string;
  readonly updated_at: string;
}

/** Only what changed; an `assignee` of null: nobody any more. */
export interface ConversationChange {
  readonly assignee?: string | null;
  readonly labels?: readonly string[];
  readonly state?: "open" | "snoozed" | "closed";
  readonly title?: string;
  readonly window_expires_at?: string;
  readonly members?: readonly string[];
}

export interface StatusChange {
  readonly message: string;
  readonly wamid?: string;
  readonly status: Status;
  readonly error?: MessageError;
  readonly at: string;
}

interface Envelope<Type extends string, Data> {
  readonly v: number;
  readonly epoch: string;
  readonly seq: number;
  readonly id: string;
  readonly type: Type;
  readonly at: string;
  readonly account: string;
  readonly conversation?: string;
  /** Unread messages of `conversation` for this user once this event is counted in. */
  readonly unread?: number;
  readonly data: Data;
}

/** The events whose data this client reads. Others arrive too and count as one step of `seq`. */
export type KnownEvent =
  | Envelope<"message.created" | "message.edited", Message>
  | Envelope<"message.status", StatusChange>
  | Envelope<"message.deleted", { readonly message: string; readonly for: "me" | "all" }>
  | Envelope<"message.reaction", { readonly message: string; readonly by: Sender; readonly emoji: string | null }>
  | Envelope<"message.media", { readonly message: string; readonly media: Media }>
  | Envelope<"receipt.read", { readonly by: string; readonly up_to: string }>
  | Envelope<"conversation.updated", ConversationChange>
  | Envelope<"contact.updated", Contact>
  | Envelope<"command.failed", CommandFailure>;

export interface CommandFailure {
  readonly id?: string;
  readonly code: string;
  readonly detail?: string;
  readonly topic?: string;
}

/** What retention removed before this session fetched it; both ends included. It has no `seq` of its own. */
export interface InboxGap {
  readonly type: "inbox.gap";
  readonly epoch?: string;
  readonly data: { readonly from: number; readonly to: number };
}

/** An event with a place in the sequence. */
export type InboxEvent = KnownEvent | Envelope<"custom", unknown>;

/** Typing and whatever else is never stored (topic `user/{id}/signals`, QoS 0). */
export interface Signal {
  readonly type: string;
  readonly conversation?: string;
  readonly by?: string;
  readonly state?: "start" | "stop";
  readonly at?: string;
}

/** Topic `user/{id}/status`: derived by the server, delivered as retained. */
export interface Presence {
  readonly online: boolean;
  readonly last_seen?: string;
  readonly devices?: number;
  readonly name?: string;
  readonly avatar?: string;
}

export interface SendMessage {
  readonly type: "message.send";
  readonly id: string;
  readonly conversation: string;
  readonly kind: "text";
  readonly text: string;
  readonly reply_to?: string;
}

export interface MarkRead {
  readonly type: "message.read";
  readonly id: string;
  readonly conversation: string;
  readonly up_to: string;
}

export interface Typing {
  readonly type: "typing";
  readonly id: string;
  readonly conversation: string;
  readonly state: "start" | "stop";
}

export type Command = SendMessage | MarkRead | Typing;

/** A page of any list. `next` is an opaque cursor, null at the end. */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next: string | null;
}

/** The answer of `GET /v1/sync`: what came after a position, or a new start where that position is gone. */
export type SyncAnswer =
  | {
      readonly reset?: false;
      readonly events: readonly InboxEvent[];
      readonly head: number;
      readonly epoch: string;
      readonly more: boolean;
    }
  | Snapshot;

export interface Snapshot {
  readonly reset: true;
  readonly epoch: string;
  readonly head: number;
  readonly snapshot: { readonly conversations: readonly Conversation[]; readonly next: string | null };
}
