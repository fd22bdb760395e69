/**
 * One user's inbox as a client sees it: the session, the joined sequence of events, and the commands on their way
 * (S1-S4, I7, O1). Everything that happens comes out as an `Update`, in order; a pure reducer can make a page of them.
 *
 * Not here: what a page looks like. This folder knows no DOM and no framework.
 */
import { backoff } from "./backoff";
import { Connection, type ConnectionState } from "./connection";
import { ApiError, HttpApi, type Problem } from "./http";
import { newId } from "./ids";
import { type KeyValue, Outbox, type Pending } from "./outbox";
import { arrive, eventsArrived, type Feed, type Fetch, join, resume, type Step, snapshotArrived } from "./sync";
import type { Claims } from "./token";
import type { Conversation, InboxEvent, Position, Presence, SendMessage, Signal } from "./types";
import { readArrival, readPresence, readSignal } from "./wire";

/** Publishes under way at once, however many the server would take: one dropped connection repeats no more than these. */
const MOST_IN_FLIGHT = 16;

export type Update =
  | { readonly type: "connection"; readonly state: ConnectionState }
  | {
      readonly type: "snapshot";
      readonly position: Position;
      readonly conversations: readonly Conversation[];
      readonly next: string | null;
      /** The inbox was reset, or restored from a backup, since this browser last saw it. */
      readonly restored: boolean;
    }
  | { readonly type: "event"; readonly event: InboxEvent }
  | { readonly type: "signal"; readonly signal: Signal }
  | { readonly type: "presence"; readonly user: string; readonly presence: Presence }
  | { readonly type: "outbox.queued"; readonly pending: Pending }
  | { readonly type: "outbox.refused"; readonly id: string; readonly problem: Problem }
  | { readonly type: "outbox.discarded"; readonly id: string }
  /** The snapshot or the catching up failed and is tried again; `problem` is absent once it worked. */
  | { readonly type: "sync"; readonly problem?: Problem };

export interface InboxOptions {
  /** `https://host[:port]` of the server. */
  readonly origin: string;
  readonly token: string;
  readonly claims: Claims;
  readonly clientId: string;
  /** Where unsent messages and the position survive a reload. */
  readonly storage: KeyValue;
  readonly onUpdate: (update: Update) => void;
}

export class Inbox {
  readonly http: HttpApi;
  readonly #connection: Connection;
  readonly #outbox: Outbox;
  readonly #topics: { inbox: string; outbox: string; signals: string };
  readonly #positionKey: string;
  readonly #inFlight = new Set<string>();
  /** Newest message shown per conversation, not yet told to the server. */
  readonly #reads = new Map<string, string>();
  readonly #watched = new Set<string>();
  #window = 1;
  #feed: Feed | undefined;

  constructor(private readonly options: InboxOptions) {
    const { claims, clientId, origin, token, storage } = options;
    const home = `user/${claims.user}`;
    this.#topics = { inbox: `${home}/inbox`, outbox: `${home}/outbox`, signals: `${home}/signals` };
    const scope = `${claims.account}/${claims.user}/${clientId}`;
    this.#positionKey = `inboxd.position/${scope}`;
    this.http = new HttpApi(origin, token);
    this.#outbox = new Outbox(storage, `inboxd.outbox/${scope}`);
    this.#connection = new Connection({
      url: `${origin.replace(/^http/, "ws")}/mqtt`,
      token,
      userName: claims.user,
      clientId,
      onState: (state) => this.#connectionBecame(state),
      onUp: (window) => void this.#up(window),
      onMessage: (topic, payload) => this.#received(topic, payload),
    });
  }

  start(): void {
    for (const pending of this.#outbox.all) this.#emit({ type: "outbox.queued", pending });
    this.#connection.start();
  }

  /** Ends the session on this side. What is unsent stays stored unless `forget`. */
  stop(forget: boolean): void {
    this.#connection.stop("token");
    if (!forget) return;
    for (const { command } of this.#outbox.all) this.#outbox.remove(command.id);
    this.options.storage.removeItem(this.#positionKey);
  }

  retryNow(): void {
    this.#connection.retryNow();
  }

  /** Queues a text; it goes out at once or when the connection is back. False when too many wait already. */
  send(conversation: string, text: string): boolean {
    if (this.#outbox.isFull) return false;
    const command: SendMessage = { type: "message.send", id: newId(), conversation, kind: "text", text };
    const pending = this.#outbox.add(command, new Date().toISOString());
    this.#emit({ type: "outbox.queued", pending });
    this.#pump();
    return true;
  }

  /** Takes a message that the server refused out of the outbox. */
  discard(id: string): void {
    this.#outbox.remove(id);
    this.#emit({ type: "outbox.discarded", id });
  }

  /** Tells the server how far the user has read. Offline, only the newest per conversation is kept. */
  markRead(conversation: string, upTo: string): void {
    this.#reads.set(conversation, upTo);
    this.#sendReads();
  }

  /** Live only: typing that is told later is false. */
  typing(conversation: string, state: "start" | "stop"): void {
    if (this.#connection.state.phase !== "live") return;
    void this.#connection.publish(this.#topics.outbox, { type: "typing", id: newId(), conversation, state }, 0);
  }

  /** Follows whether a user of the account is online. */
  watchPresence(user: string): void {
    if (this.#watched.has(user)) return;
    this.#watched.add(user);
    if (this.#connection.state.phase === "live") this.#subscribeQuietly(`user/${user}/status`, 1);
  }

  async #up(window: number): Promise<void> {
    this.#window = Math.min(window, MOST_IN_FLIGHT);
    try {
      await this.#connection.subscribe(this.#topics.inbox, 1, this.#subscribeFrom());
    } catch (error) {
      // Cut off (the next connection asks again), or refused, which says that token and server disagree on the user.
      const detail = error instanceof Error ? error.message : String(error);
      this.#emit({
        type: "sync",
        problem: { code: "subscribe_failed", title: "The inbox could not be followed", detail },
      });
      return;
    }
    this.#step(this.#feed === undefined ? join() : resume(this.#feed));
    this.#subscribeQuietly(this.#topics.signals, 0);
    for (const user of this.#watched) this.#subscribeQuietly(`user/${user}/status`, 1);
    this.#pump();
    this.#sendReads();
  }

  /** Where a subscription starts if the server no longer has this session; a session it has keeps its own cursor. */
  #subscribeFrom(): Record<string, string> | undefined {
    if (this.#feed === undefined || this.#feed.phase === "joining") return undefined;
    const { epoch, seq } = this.#feed.position;
    return { after: String(seq), epoch };
  }

  /** For what the page can do without: a refusal changes nothing else. */
  #subscribeQuietly(topic: string, qos: 0 | 1): void {
    this.#connection.subscribe(topic, qos).catch(() => undefined);
  }

  #connectionBecame(state: ConnectionState): void {
    if (state.phase !== "live") this.#inFlight.clear();
    this.#emit({ type: "connection", state });
    // Without a connection, what the server has can still be read; the subscription catches up with it later.
    if (state.phase === "offline" && this.#feed === undefined) this.#step(join());
  }

  #received(topic: string, payload: Uint8Array): void {
    if (topic === this.#topics.inbox) {
      const arrival = readArrival(payload);
      if (arrival !== undefined && this.#feed !== undefined) this.#step(arrive(this.#feed, arrival));
    } else if (topic === this.#topics.signals) {
      const signal = readSignal(payload);
      if (signal !== undefined) this.#emit({ type: "signal", signal });
    } else {
      const user = /^user\/([^/]+)\/status$/.exec(topic)?.[1];
      const presence = readPresence(payload);
      if (user !== undefined && presence !== undefined) this.#emit({ type: "presence", user, presence });
    }
  }

  #step({ feed, apply, fetch }: Step): void {
    this.#feed = feed;
    for (const event of apply) this.#emit({ type: "event", event });
    if (feed.phase === "live") this.#remember(feed.position);
    if (fetch !== undefined) void this.#fetch(fetch);
  }

  /** Fetches until it works or the connection has stopped for good. The feed holds what arrives meanwhile. */
  async #fetch(fetch: Fetch): Promise<void> {
    for (let attempt = 0; this.#connection.state.phase !== "stopped"; attempt++) {
      try {
        const answer = await (fetch.kind === "snapshot" ? this.http.snapshot() : this.http.sync(fetch.position));
        if (this.#feed === undefined) return;
        this.#emit({ type: "sync" });
        if (answer.reset) {
          const position = { epoch: answer.epoch, seq: answer.head };
          const last = this.#recall();
          const restored = last !== undefined && last.epoch !== position.epoch;
          this.#emit({ type: "snapshot", position, restored, ...answer.snapshot });
          this.#step(snapshotArrived(this.#feed, position));
        } else {
          this.#step(eventsArrived(this.#feed, answer));
        }
        return;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 401) return this.#connection.stop("token");
        this.#emit({ type: "sync", problem: error.problem });
        await new Promise((resolve) => setTimeout(resolve, backoff(attempt, Math.random())));
      }
    }
  }

  #pump(): void {
    if (this.#connection.state.phase !== "live") return;
    for (const { command, error } of this.#outbox.all) {
      if (this.#inFlight.size >= this.#window) return;
      if (error === undefined && !this.#inFlight.has(command.id)) void this.#publish(command);
    }
  }

  async #publish(command: SendMessage): Promise<void> {
    this.#inFlight.add(command.id);
    const published = await this.#connection.publish(this.#topics.outbox, command, 1);
    // Cut off: the connection's end emptied the set, and the next connection sends it again under the same id.
    if (published.outcome === "open") return;
    this.#inFlight.delete(command.id);
    if (published.outcome === "accepted") {
      this.#outbox.remove(command.id);
    } else {
      this.#outbox.refuse(command.id, published.problem);
      this.#emit({ type: "outbox.refused", id: command.id, problem: published.problem });
    }
    this.#pump();
  }

  #sendReads(): void {
    if (this.#connection.state.phase !== "live") return;
    for (const [conversation, upTo] of this.#reads) {
      this.#reads.delete(conversation);
      const command = { type: "message.read", id: newId(), conversation, up_to: upTo };
      // A refusal (`command_unknown` from a server that cannot do it yet) leaves the badge as the server counts it.
      void this.#connection.publish(this.#topics.outbox, command, 1).then(({ outcome }) => {
        if (outcome === "open" && !this.#reads.has(conversation)) this.#reads.set(conversation, upTo);
      });
    }
  }

  /** Where this browser stood last, also before a reload. */
  #recall(): Position | undefined {
    try {
      return (JSON.parse(this.options.storage.getItem(this.#positionKey) ?? "null") as Position | null) ?? undefined;
    } catch {
      return undefined;
    }
  }

  #remember(position: Position): void {
    try {
      this.options.storage.setItem(this.#positionKey, JSON.stringify(position));
    } catch {
      // Storage is full or forbidden: a restored inbox would not be announced after a reload. Nothing else hangs on it.
    }
  }

  #emit(update: Update): void {
    this.options.onUpdate(update);
  }
}
