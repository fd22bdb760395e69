/**
 * What the page knows, and how each thing that happens changes it (I7, O10, S4). Pure: no I/O, no clock, no chance, so a
 * list of actions always gives the same page; `test/unit/state.test.ts` plays such lists.
 *
 * Not here: questions asked of the state (`select.ts`), messages inside one conversation (`thread.ts`).
 */
import type {
  CommandFailure,
  ConnectionState,
  Conversation,
  ConversationChange,
  InboxEvent,
  Message,
  Page,
  Pending,
  Presence,
  Problem,
  Signal,
  StatusChange,
  Update,
} from "../client";
import { merged, withStatus } from "./status";
import { appended, changed, emptyThread, olderPage, type Thread } from "./thread";

/** Statuses kept for messages not seen yet. The oldest go first: their message comes with its status from history. */
export const MOST_EARLY_STATUSES = 500;
/** Events kept for one conversation that is being fetched. Each tells the whole unread count, so the latest suffice. */
const MOST_HELD_EVENTS = 100;
/** Notices on the screen at once. */
const MOST_NOTICES = 3;

export interface Notice {
  readonly id: number;
  readonly text: string;
}

export interface State {
  readonly user: string;
  readonly connection: ConnectionState;
  /** The first snapshot is in. */
  readonly ready: boolean;
  readonly syncProblem?: Problem | undefined;
  readonly conversations: ReadonlyMap<string, Conversation>;
  /** Cursor to older conversations; null when all are here. */
  readonly moreConversations: string | null;
  /** Only conversations that were opened. */
  readonly threads: ReadonlyMap<string, Thread>;
  /** Own messages that no event has confirmed yet, in the order they were written. */
  readonly pending: readonly Pending[];
  readonly earlyStatuses: ReadonlyMap<string, StatusChange>;
  /**
   * Conversations that an event named and that must be fetched, with the events since: the answer may be older than the
   * latest of them, so they are played again on top of it.
   */
  readonly missing: ReadonlyMap<string, readonly InboxEvent[]>;
  /** Who is typing, by conversation; `heard` tells renewed signals apart. */
  readonly typing: ReadonlyMap<string, { readonly by: string; readonly heard: number }>;
  readonly presence: ReadonlyMap<string, Presence>;
  readonly notices: readonly Notice[];
  /** The newest message from somebody else, for screen readers. */
  readonly announced?: Message | undefined;
  /** Rises with every snapshot: what was loaded before may have holes. */
  readonly generation: number;
  readonly counter: number;
}

export type Action =
  | Update
  | { readonly type: "thread.opened"; readonly conversation: string }
  | {
      readonly type: "thread.page";
      readonly conversation: string;
      readonly generation: number;
      readonly page: Page<Message>;
    }
  | { readonly type: "thread.failed"; readonly conversation: string; readonly problem: Problem }
  | { readonly type: "conversation.loaded"; readonly conversation: Conversation }
  | { readonly type: "conversation.gone"; readonly id: string }
  | { readonly type: "conversations.page"; readonly page: Page<Conversation> }
  | { readonly type: "typing.faded"; readonly conversation: string; readonly heard: number }
  | { readonly type: "notice.raised"; readonly text: string }
  | { readonly type: "notice.dismissed"; readonly id: number };

export function initialState(user: string): State {
  return {
    user,
    connection: { phase: "connecting", attempt: 0 },
    ready: false,
    conversations: new Map(),
    moreConversations: null,
    threads: new Map(),
    pending: [],
    earlyStatuses: new Map(),
    missing: new Map(),
    typing: new Map(),
    presence: new Map(),
    notices: [],
    generation: 0,
    counter: 0,
  };
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "connection":
      return { ...state, connection: action.state };
    case "sync":
      return state.syncProblem === action.problem ? state : { ...state, syncProblem: action.problem };
    case "snapshot":
      return snapshot(state, action);
    case "event":
      return event(state, action.event);
    case "signal":
      return signal(state, action.signal);
    case "presence":
      return { ...state, presence: with_(state.presence, action.user, action.presence) };
    case "outbox.queued":
      return { ...state, pending: [...state.pending, action.pending] };
    case "outbox.refused":
      return refused(state, action.id, action.problem);
    case "outbox.discarded":
      return { ...state, pending: state.pending.filter(({ command }) => command.id !== action.id) };
    case "thread.opened":
      return {
        ...state,
        threads: with_(state.threads, action.conversation, {
          ...(state.threads.get(action.conversation) ?? emptyThread),
          loading: true,
          problem: undefined,
        }),
      };
    case "thread.page":
      return threadPage(state, action);
    case "thread.failed":
      return onThread(state, action.conversation, (thread) => ({
        ...thread,
        loading: false,
        problem: action.problem,
      }));
    case "conversation.loaded":
      return conversationLoaded(state, action.conversation);
    case "conversation.gone":
      return { ...state, missing: dropped(state.missing, action.id) };
    case "conversations.page": {
      // What is here already is as new as the stream; the page may be older.
      const conversations = new Map(action.page.items.map((item) => [item.id, item]));
      for (const [id, known] of state.conversations) conversations.set(id, known);
      return { ...state, conversations, moreConversations: action.page.next };
    }
    case "typing.faded": {
      if (state.typing.get(action.conversation)?.heard !== action.heard) return state;
      return { ...state, typing: dropped(state.typing, action.conversation) };
    }
    case "notice.raised":
      return raise(state, action.text);
    case "notice.dismissed":
      return { ...state, notices: state.notices.filter(({ id }) => id !== action.id) };
  }
}

function snapshot(state: State, update: Extract<Update, { type: "snapshot" }>): State {
  const confirmed = new Set(update.conversations.map(({ last_message }) => last_message?.command_id));
  const fresh: State = {
    ...state,
    ready: true,
    conversations: new Map(update.conversations.map((conversation) => [conversation.id, conversation])),
    moreConversations: update.next,
    threads: new Map(),
    missing: new Map(),
    earlyStatuses: new Map(),
    pending: state.pending.filter(({ command }) => !confirmed.has(command.id)),
    generation: state.generation + 1,
  };
  return update.restored
    ? raise(fresh, "This inbox was reset or restored from a backup. You see it as the server has it now.")
    : fresh;
}

function event(state: State, event: InboxEvent): State {
  if (typeof event.data !== "object" || event.data === null) return state;
  const counted = count(heldIfMissing(state, event), event);
  switch (event.type) {
    case "message.created":
      return created(counted, event.data, event.at);
    case "message.edited":
      return onMessage(counted, event.data.id, event.data.conversation, (known) => merged(known, event.data));
    case "message.status":
      return statusChanged(counted, event.data, event.conversation);
    case "message.deleted": {
      const { message, for: whom } = event.data;
      return deleted(counted, message, whom, event.conversation);
    }
    case "message.reaction": {
      const { message, by, emoji } = event.data;
      return onMessage(counted, message, event.conversation, (known) => {
        const others = (known.reactions ?? []).filter(
          (reaction) => reaction.by.id !== by.id || reaction.by.kind !== by.kind,
        );
        return { ...known, reactions: emoji === null ? others : [...others, { by, emoji }] };
      });
    }
    case "message.media": {
      const { message, media } = event.data;
      return onMessage(counted, message, event.conversation, (known) => ({ ...known, media }));
    }
    case "conversation.updated":
      return conversationUpdated(counted, event.conversation, event.data);
    case "contact.updated": {
      const conversations = new Map(counted.conversations);
      for (const [id, known] of conversations) {
        // A title that was the contact's name follows it; one that somebody gave stays.
        if (known.contact?.id !== event.data.id) continue;
        const title = known.title === known.contact.name ? event.data.name : known.title;
        conversations.set(id, { ...known, contact: event.data, title });
      }
      return { ...counted, conversations };
    }
    case "command.failed":
      return commandFailed(counted, event.data);
    default:
      // receipt.read changes `unread`, which is counted above; custom and unknown types change nothing here.
      return counted;
  }
}

function heldIfMissing(state: State, event: InboxEvent): State {
  const { conversation } = event;
  if (conversation === undefined || state.conversations.has(conversation)) return state;
  const held = [...(state.missing.get(conversation) ?? []), event].slice(-MOST_HELD_EVENTS);
  return { ...state, missing: with_(state.missing, conversation, held) };
}

function conversationLoaded(state: State, conversation: Conversation): State {
  const held = state.missing.get(conversation.id) ?? [];
  const loaded: State = {
    ...state,
    conversations: with_(state.conversations, conversation.id, conversation),
    missing: dropped(state.missing, conversation.id),
  };
  return held.reduce(event, loaded);
}

/** `unread` comes on the envelope of any event of a conversation, as the server counts it. */
function count(state: State, { conversation, unread }: InboxEvent): State {
  if (conversation === undefined || unread === undefined) return state;
  return onConversation(state, conversation, (known) => (known.unread === unread ? known : { ...known, unread }));
}

function created(state: State, told: Message, at: string): State {
  const early = state.earlyStatuses.get(told.id);
  const message = early ? withStatus(told, early) : told;
  const own = message.sender?.kind === "user" && message.sender.id === state.user;
  const next: State = {
    ...state,
    earlyStatuses: early ? dropped(state.earlyStatuses, told.id) : state.earlyStatuses,
    pending:
      own && message.command_id !== undefined
        ? state.pending.filter(({ command }) => command.id !== message.command_id)
        : state.pending,
    typing: message.direction === "in" ? dropped(state.typing, message.conversation) : state.typing,
    announced: own ? state.announced : message,
  };
  const threaded = onThread(next, message.conversation, (thread) => appended(thread, message));
  return onConversation(threaded, message.conversation, (known) => {
    const last = known.last_message;
    if (last?.id === message.id) return { ...known, last_message: merged(last, message) };
    return { ...known, last_message: message, updated_at: at };
  });
}

function statusChanged(state: State, change: StatusChange, conversation: string | undefined): State {
  if (isHere(state, change.message)) {
    return onMessage(state, change.message, conversation, (known) => withStatus(known, change));
  }
  const held = state.earlyStatuses.get(change.message);
  const early = dropped(state.earlyStatuses, change.message) as Map<string, StatusChange>;
  early.set(change.message, held ? furthest(held, change) : change);
  const oldest = early.keys().next().value;
  if (early.size > MOST_EARLY_STATUSES && oldest !== undefined) early.delete(oldest);
  return { ...state, earlyStatuses: early };
}

/** Of two statuses for a message not seen yet, the one that would stand at the end. */
function furthest(held: StatusChange, change: StatusChange): StatusChange {
  const stand = (status: StatusChange): Message => ({ ...standIn, ...status, id: status.message });
  const result = withStatus(stand(held), change);
  const wamid = result.wamid ?? change.wamid;
  return {
    message: held.message,
    status: result.status,
    at: result.updated_at,
    ...(wamid !== undefined && { wamid }),
    ...(result.error && { error: result.error }),
  };
}

const standIn: Message = {
  id: "",
  conversation: "",
  direction: "out",
  sender: { kind: "system", id: "" },
  kind: "text",
  status: "sending",
  created_at: "",
  updated_at: "",
};

function deleted(state: State, id: string, whom: "me" | "all", conversation: string | undefined): State {
  if (whom === "all") {
    return onMessage(state, id, conversation, (known) => {
      const { text: _t, media: _m, payload: _p, reactions: _r, ...rest } = known;
      return { ...rest, kind: "system", text: "This message was deleted" };
    });
  }
  if (conversation === undefined) return state;
  return onThread(state, conversation, (thread) => ({
    ...thread,
    messages: thread.messages.filter((message) => message.id !== id),
  }));
}

function conversationUpdated(state: State, id: string | undefined, change: ConversationChange): State {
  if (id === undefined) return state;
  return onConversation(state, id, (known) => {
    const { assignee, ...rest } = { ...known, ...change };
    return assignee === null || assignee === undefined ? rest : { ...rest, assignee };
  });
}

function commandFailed(state: State, { id, code, detail }: CommandFailure): State {
  if (id !== undefined && state.pending.some(({ command }) => command.id === id)) {
    return refused(state, id, { code, title: "The server refused this message", ...(detail && { detail }) });
  }
  // Commands this page sends beyond messages (read marks, typing) may be unknown to an older server: nothing is lost.
  if (code === "command_unknown") return state;
  return raise(state, `The server refused a command: ${detail ?? code}`);
}

function refused(state: State, id: string, problem: Problem): State {
  return {
    ...state,
    pending: state.pending.map((pending) => (pending.command.id === id ? { ...pending, error: problem } : pending)),
  };
}

function signal(state: State, { type, conversation, by, state: phase }: Signal): State {
  if (type !== "typing" || conversation === undefined || by === state.user) return state;
  if (phase === "stop") return { ...state, typing: dropped(state.typing, conversation) };
  const heard = state.counter + 1;
  return { ...state, counter: heard, typing: with_(state.typing, conversation, { by: by ?? "", heard }) };
}

function threadPage(state: State, action: Extract<Action, { type: "thread.page" }>): State {
  // Asked before a snapshot replaced everything: the conversation is opened anew and asks again.
  if (action.generation !== state.generation) return state;
  const items = action.page.items.map((message) => {
    const early = state.earlyStatuses.get(message.id);
    return early ? withStatus(message, early) : message;
  });
  const early = new Map(state.earlyStatuses);
  const commands = new Set<string>();
  for (const message of items) {
    early.delete(message.id);
    if (message.sender?.id === state.user && message.command_id !== undefined) commands.add(message.command_id);
  }
  const next: State = {
    ...state,
    earlyStatuses: early,
    pending: state.pending.filter(({ command }) => !commands.has(command.id)),
  };
  return onThread(next, action.conversation, (thread) => olderPage(thread, { items, next: action.page.next }));
}

function raise(state: State, text: string): State {
  const id = state.counter + 1;
  return { ...state, counter: id, notices: [...state.notices, { id, text }].slice(-MOST_NOTICES) };
}

function isHere(state: State, message: string): boolean {
  for (const { messages } of state.threads.values()) {
    if (messages.some(({ id }) => id === message)) return true;
  }
  for (const { last_message } of state.conversations.values()) {
    if (last_message?.id === message) return true;
  }
  return false;
}

/** Changes a message wherever it stands: in its open thread and as the list's last message. */
function onMessage(
  state: State,
  message: string,
  conversation: string | undefined,
  change: (known: Message) => Message,
): State {
  const homes = conversation === undefined ? [...state.conversations.keys()] : [conversation];
  let next = state;
  for (const home of homes) {
    if (next.threads.has(home)) next = onThread(next, home, (thread) => changed(thread, message, change));
    const known = next.conversations.get(home);
    if (known?.last_message?.id !== message) continue;
    const last = change(known.last_message);
    next = { ...next, conversations: with_(next.conversations, home, { ...known, last_message: last }) };
  }
  return next;
}

function onConversation(state: State, id: string, change: (known: Conversation) => Conversation): State {
  const known = state.conversations.get(id);
  if (known === undefined) return state;
  const next = change(known);
  return next === known ? state : { ...state, conversations: with_(state.conversations, id, next) };
}

function onThread(state: State, conversation: string, change: (thread: Thread) => Thread): State {
  const thread = state.threads.get(conversation);
  if (thread === undefined) return state;
  const next = change(thread);
  return next === thread ? state : { ...state, threads: with_(state.threads, conversation, next) };
}

function with_<Value>(map: ReadonlyMap<string, Value>, key: string, value: Value): ReadonlyMap<string, Value> {
  return new Map(map).set(key, value);
}

function dropped<Value>(map: ReadonlyMap<string, Value>, key: string): ReadonlyMap<string, Value> {
  const next = new Map(map);
  next.delete(key);
  return next;
}
