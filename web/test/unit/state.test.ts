/**
 * I7, O10, S4: what the page shows after a list of things has happened.
 */
import { describe, expect, it } from "vitest";
import type { InboxEvent, Message, Pending } from "../../src/client";
import { newestFromOthers, sortedConversations, totalUnread } from "../../src/state/select";
import { type Action, initialState, MOST_EARLY_STATUSES, reduce, type State } from "../../src/state/state";
import { AT, conversation, EPOCH, event, message, own } from "./build";

const snapshot: Action = {
  type: "snapshot",
  position: { epoch: EPOCH, seq: 10 },
  conversations: [conversation("c1"), conversation("c2")],
  next: null,
  restored: false,
};
const happened = (event: InboxEvent): Action => ({ type: "event", event });
const created = (seq: number, data: Message, unread = 0): Action =>
  happened(event(seq, "message.created", data, { conversation: data.conversation, unread }));
const status = (seq: number, id: string, status: Message["status"]): Action =>
  happened(event(seq, "message.status", { message: id, status, at: AT }));
const opened: Action = { type: "thread.opened", conversation: "c1" };
const page = (items: Message[], next: string | null = null, generation = 1): Action => ({
  type: "thread.page",
  conversation: "c1",
  generation,
  page: { items, next },
});
const pending = (id: string): Pending => ({
  command: { type: "message.send", id, conversation: "c1", kind: "text", text: "hi" },
  queuedAt: AT,
});
const play = (...actions: Action[]): State => actions.reduce(reduce, initialState("alice"));
const ids = (state: State): (string | undefined)[] => state.threads.get("c1")?.messages.map(({ id }) => id) ?? [];
const statusOf = (state: State, id: string) =>
  state.threads.get("c1")?.messages.find((message) => message.id === id)?.status;

describe("message.created", () => {
  it("shows the message in its open conversation, in the list, and counts unread as the server does", () => {
    const state = play(snapshot, opened, page([message("m1")]), created(11, message("m2"), 4));
    expect(ids(state)).toEqual(["m1", "m2"]);
    expect(state.conversations.get("c1")).toMatchObject({ unread: 4, last_message: { id: "m2" } });
    expect(state.announced?.id).toBe("m2");
    expect(totalUnread(state.conversations)).toBe(4);
  });

  it("shows a message once that comes by stream and by page, in either order", () => {
    expect(ids(play(snapshot, opened, created(11, message("m2")), page([message("m2"), message("m1")])))).toEqual([
      "m1",
      "m2",
    ]);
    expect(ids(play(snapshot, opened, page([message("m2"), message("m1")]), created(11, message("m2"))))).toEqual([
      "m1",
      "m2",
    ]);
  });

  it("stands in the server's order, whatever time WhatsApp gave it", () => {
    const late = message("m2", { created_at: "2026-11-19T00:00:00.000Z" });
    const state = play(snapshot, opened, page([message("m1")]), created(11, late));
    expect(ids(state)).toEqual(["m1", "m2"]);
    expect(state.conversations.get("c1")?.last_message?.id).toBe("m2");
  });

  it("moves its conversation to the top", () => {
    const later = event(11, "message.created", message("m1", { conversation: "c2" }), {
      conversation: "c2",
      at: "2026-11-20T23:00:00.000Z",
    });
    const state = play(snapshot, happened(later));
    expect(sortedConversations(state.conversations).map(({ id }) => id)).toEqual(["c2", "c1"]);
  });

  it("does not announce one's own messages", () => {
    expect(play(snapshot, created(11, own("m1"))).announced).toBeUndefined();
  });
});

describe("a conversation that the page has never seen", () => {
  it("is asked for, and events since are played on top of an older answer", () => {
    const first = created(11, message("m1", { conversation: "c9" }), 1);
    const second = created(12, message("m2", { conversation: "c9" }), 2);
    const asked = play(snapshot, first, second);
    expect([...asked.missing.keys()]).toEqual(["c9"]);
    const stale = conversation("c9", { unread: 1, last_message: message("m1", { conversation: "c9" }) });
    const loaded = reduce(asked, { type: "conversation.loaded", conversation: stale });
    expect(loaded.missing.size).toBe(0);
    expect(loaded.conversations.get("c9")).toMatchObject({ unread: 2, last_message: { id: "m2" } });
  });

  it("is no longer asked for when the server does not know it", () => {
    const asked = play(snapshot, created(11, message("m1", { conversation: "c9" })));
    expect(reduce(asked, { type: "conversation.gone", id: "c9" }).missing.size).toBe(0);
  });
});

describe("O10: message.status", () => {
  it("rises and never falls", () => {
    const base = play(snapshot, opened, page([own("m1", { status: "sent" })]));
    const read = [status(11, "m1", "read"), status(12, "m1", "delivered")].reduce(reduce, base);
    expect(statusOf(read, "m1")).toBe("read");
  });

  it("that comes before its message is kept for it", () => {
    const base = play(snapshot, opened, page([]));
    const early = [status(11, "m1", "delivered"), status(12, "m1", "sent")].reduce(reduce, base);
    const state = reduce(early, created(13, own("m1")));
    expect(statusOf(state, "m1")).toBe("delivered");
    expect(state.earlyStatuses.size).toBe(0);
  });

  it("for a message of a conversation that is not open is there when its page arrives", () => {
    const state = play(snapshot, status(11, "m1", "read"), opened, page([own("m1", { status: "sent" })]));
    expect(statusOf(state, "m1")).toBe("read");
    expect(state.earlyStatuses.size).toBe(0);
  });

  it("kept for messages never seen is bounded, the oldest go first", () => {
    const actions = Array.from({ length: MOST_EARLY_STATUSES + 1 }, (_, i) => status(11 + i, `m${i}`, "sent"));
    const state = play(snapshot, ...actions);
    expect(state.earlyStatuses.size).toBe(MOST_EARLY_STATUSES);
    expect(state.earlyStatuses.has("m0")).toBe(false);
  });

  it("also changes the mark in the list", () => {
    const state = play(snapshot, created(11, own("m1")), status(12, "m1", "delivered"));
    expect(state.conversations.get("c1")?.last_message?.status).toBe("delivered");
  });
});

describe("O1: an own message", () => {
  const queued: Action = { type: "outbox.queued", pending: pending("cmd1") };

  it("waits until the server's message with its command id takes its place", () => {
    const waiting = play(snapshot, opened, page([]), queued);
    expect(waiting.pending).toHaveLength(1);
    const done = reduce(waiting, created(11, own("m1", { command_id: "cmd1" })));
    expect(done.pending).toEqual([]);
    expect(ids(done)).toEqual(["m1"]);
  });

  it("is not taken for a colleague's message with the same command id", () => {
    const other = message("m1", { command_id: "cmd1", direction: "out", sender: { kind: "user", id: "bob" } });
    expect(play(snapshot, queued, created(11, other)).pending).toHaveLength(1);
  });

  it("is found again in history after a reload", () => {
    expect(play(queued, snapshot, opened, page([own("m1", { command_id: "cmd1" })])).pending).toEqual([]);
    const told = conversation("c1", { last_message: own("m1", { command_id: "cmd1" }) });
    expect(play(queued, { ...snapshot, conversations: [told] } as Action).pending).toEqual([]);
  });

  it("that is refused stays with its error, by PUBACK and by command.failed alike", () => {
    const problem = { code: "quota_exceeded", title: "Too many" };
    const byAck = play(snapshot, queued, { type: "outbox.refused", id: "cmd1", problem });
    expect(byAck.pending[0]?.error).toEqual(problem);
    const failed = event(11, "command.failed", { id: "cmd1", code: "bad_command", detail: "no text" });
    const byEvent = play(snapshot, queued, happened(failed));
    expect(byEvent.pending[0]?.error).toMatchObject({ code: "bad_command", detail: "no text" });
    expect(byEvent.notices).toEqual([]);
  });

  it("that is discarded is gone", () => {
    expect(play(snapshot, queued, { type: "outbox.discarded", id: "cmd1" }).pending).toEqual([]);
  });
});

describe("command.failed for other commands", () => {
  it("is told to the user, but not where the server only does not know the command yet", () => {
    const refusal = (code: string) => happened(event(11, "command.failed", { id: "x", code }));
    expect(play(snapshot, refusal("forbidden")).notices).toHaveLength(1);
    expect(play(snapshot, refusal("command_unknown")).notices).toEqual([]);
  });
});

describe("other events", () => {
  it("conversation.updated changes what it names and nothing else", () => {
    const update = event(11, "conversation.updated", { assignee: "bob", window_expires_at: AT });
    const state = play(snapshot, created(11, message("m1"), 2), happened(update));
    expect(state.conversations.get("c1")).toMatchObject({
      assignee: "bob",
      window_expires_at: AT,
      title: "Title c1",
      unread: 2,
    });
    const nobody = reduce(state, happened(event(12, "conversation.updated", { assignee: null })));
    expect(nobody.conversations.get("c1")).not.toHaveProperty("assignee");
  });

  it("contact.updated renames the conversation that bore the contact's name, and no other", () => {
    const contact = { id: "p1", name: "Ana" };
    const named = conversation("c1", { title: "Ana", contact });
    const given = conversation("c2", { title: "VIP", contact });
    const base = play({ ...snapshot, conversations: [named, given] } as Action);
    const update = { ...event(11, "contact.updated", { id: "p1", name: "Ana María" }), conversation: undefined };
    const state = reduce(base, happened(update as unknown as InboxEvent));
    expect(state.conversations.get("c1")?.title).toBe("Ana María");
    expect(state.conversations.get("c2")).toMatchObject({ title: "VIP", contact: { name: "Ana María" } });
  });

  it("message.reaction keeps one per person and takes it away again", () => {
    const react = (seq: number, emoji: string | null) =>
      happened(event(seq, "message.reaction", { message: "m1", by: { kind: "contact", id: "p1" }, emoji }));
    const base = play(snapshot, opened, page([message("m1")]), react(11, "👍"), react(12, "❤️"));
    expect(base.threads.get("c1")?.messages[0]?.reactions).toMatchObject([{ by: { id: "p1" }, emoji: "❤️" }]);
    expect(reduce(base, react(13, null)).threads.get("c1")?.messages[0]?.reactions).toEqual([]);
  });

  it("message.deleted for me removes it, for all leaves a note without its text", () => {
    const gone = (whom: "me" | "all") => happened(event(11, "message.deleted", { message: "m1", for: whom }));
    const base = play(snapshot, opened, page([message("m1", { text: "secret" })]));
    expect(ids(reduce(base, gone("me")))).toEqual([]);
    expect(JSON.stringify([...reduce(base, gone("all")).threads.values()])).not.toContain("secret");
  });

  it("of a type nobody knows, or without data, change nothing but unread", () => {
    const base = play(snapshot, opened, page([message("m1")]));
    const future = { ...event(11, "receipt.read", { by: "bob", up_to: "m1" }, { unread: 3 }), type: "message.sung" };
    expect(reduce(base, happened(future as unknown as InboxEvent)).conversations.get("c1")?.unread).toBe(3);
    const empty = { ...event(12, "receipt.read", { by: "bob", up_to: "m1" }), data: null };
    expect(reduce(base, happened(empty as unknown as InboxEvent))).toBe(base);
  });
});

describe("S3: a new snapshot", () => {
  it("drops what was loaded, and pages that were asked for before it", () => {
    const base = play(snapshot, opened, page([message("m1")]), snapshot);
    expect(base.threads.size).toBe(0);
    expect(base.generation).toBe(2);
    const late = [opened, page([message("m1")], null, 1)].reduce(reduce, base);
    expect(ids(late)).toEqual([]);
  });

  it("of a restored inbox says so", () => {
    expect(play({ ...snapshot, restored: true } as Action).notices).toHaveLength(1);
  });
});

describe("S4: pages", () => {
  it("go before what is here, and end when the server has no more", () => {
    const base = play(snapshot, opened, page([message("m4"), message("m3")], "cursor"));
    expect(base.threads.get("c1")).toMatchObject({ complete: false, loaded: true, loading: false });
    const all = [opened, page([message("m2"), message("m1")])].reduce(reduce, base);
    expect(ids(all)).toEqual(["m1", "m2", "m3", "m4"]);
    expect(all.threads.get("c1")?.complete).toBe(true);
    expect(newestFromOthers(all.threads.get("c1")?.messages ?? [])?.id).toBe("m4");
  });

  it("of older conversations do not overwrite newer knowledge", () => {
    const base = play(snapshot, created(11, message("m1"), 5));
    const stale = { items: [conversation("c1"), conversation("c3")], next: null };
    const state = reduce(base, { type: "conversations.page", page: stale });
    expect(state.conversations.get("c1")?.unread).toBe(5);
    expect(state.conversations.has("c3")).toBe(true);
  });
});

describe("typing", () => {
  const typing = (state: "start" | "stop", by = "p1"): Action => ({
    type: "signal",
    signal: { type: "typing", conversation: "c1", by, state },
  });

  it("starts, stops, and fades only if it was not renewed", () => {
    const once = play(snapshot, typing("start"));
    const heard = once.typing.get("c1")?.heard ?? 0;
    const renewed = reduce(once, typing("start"));
    const fade: Action = { type: "typing.faded", conversation: "c1", heard };
    expect(reduce(renewed, fade).typing.has("c1")).toBe(true);
    expect(reduce(once, fade).typing.has("c1")).toBe(false);
    expect(reduce(once, typing("stop")).typing.has("c1")).toBe(false);
  });

  it("ends when the message arrives, and one's own is not shown", () => {
    expect(play(snapshot, typing("start"), created(11, message("m1"))).typing.size).toBe(0);
    expect(play(snapshot, typing("start", "alice")).typing.size).toBe(0);
  });
});
