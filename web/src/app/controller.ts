/**
 * Between the pure state and the world: plays updates of the client into the state, fetches what the state lacks, and turns
 * what the user does into commands (S4, O1).
 *
 * Not here: any element of the page.
 */
import { ApiError, Inbox, type Pending, type Problem, type Update } from "../client";
import { type Action, initialState, reduce, type State } from "../state/state";
import type { Session } from "./session";

/** A typing signal that is not renewed is over; WhatsApp and phones renew theirs well within this. */
const TYPING_FADES_MS = 8000;
/** Own typing is told at most this often. */
const TYPING_RENEWED_MS = 4000;
/** Before a conversation that could not be fetched is asked for again. */
const REFETCH_MS = 5000;
const NOTICE_MS = 12_000;

export class Controller {
  readonly #inbox: Inbox;
  readonly #listeners = new Set<() => void>();
  readonly #fetching = new Set<string>();
  readonly #marked = new Map<string, string>();
  readonly #drafts = new Map<string, string>();
  #typing: { conversation: string; toldAt: number } | undefined;
  #loadingList = false;
  #state: State;

  constructor(readonly session: Session) {
    this.#state = initialState(session.claims.user);
    this.#inbox = new Inbox({
      origin: location.origin,
      ...session,
      storage: localStorage,
      onUpdate: (update) => this.#updated(update),
    });
  }

  get state(): State {
    return this.#state;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  start(): void {
    this.#inbox.start();
    addEventListener("online", () => this.#inbox.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#inbox.retryNow();
    });
  }

  /** Signs this browser out; what was not sent is forgotten with it. */
  end(): void {
    this.#inbox.stop(true);
  }

  retryNow(): void {
    this.#inbox.retryNow();
  }

  /** Loads the newest page of a conversation, unless it is here or on its way. */
  open(conversation: string): void {
    const thread = this.#state.threads.get(conversation);
    if (thread?.loading || thread?.loaded) return;
    void this.#loadPage(conversation, undefined);
  }

  loadOlder(conversation: string): void {
    const thread = this.#state.threads.get(conversation);
    if (thread === undefined || thread.loading || thread.complete) return;
    void this.#loadPage(conversation, thread.loaded ? thread.messages[0]?.id : undefined);
  }

  async loadMoreConversations(): Promise<void> {
    const cursor = this.#state.moreConversations;
    if (cursor === null || this.#loadingList) return;
    this.#loadingList = true;
    try {
      this.#dispatch({ type: "conversations.page", page: await this.#inbox.http.conversations(cursor) });
    } catch (error) {
      this.#dispatch({
        type: "notice.raised",
        text: `More conversations could not be loaded: ${problemOf(error).title}`,
      });
    } finally {
      this.#loadingList = false;
    }
  }

  /** False when too much waits already; the text then stays with the user. */
  send(conversation: string, text: string): boolean {
    this.stoppedTyping();
    if (this.#inbox.send(conversation, text)) return true;
    this.#notice("Too many messages wait to be sent. Go online first.");
    return false;
  }

  /** A refused message goes out again under a new id: the server remembers what it refused under the old one. */
  sendAgain({ command }: Pending): void {
    if (this.send(command.conversation, command.text)) this.discard(command.id);
  }

  discard(id: string): void {
    this.#inbox.discard(id);
  }

  markRead(conversation: string, upTo: string): void {
    if (this.#marked.get(conversation) === upTo) return;
    this.#marked.set(conversation, upTo);
    this.#inbox.markRead(conversation, upTo);
  }

  draft(conversation: string): string {
    return this.#drafts.get(conversation) ?? "";
  }

  typed(conversation: string, text: string): void {
    this.#drafts.set(conversation, text);
    if (text === "") {
      this.stoppedTyping();
      return;
    }
    const now = Date.now();
    const told = this.#typing;
    if (told?.conversation === conversation && now - told.toldAt < TYPING_RENEWED_MS) return;
    this.#typing = { conversation, toldAt: now };
    this.#inbox.typing(conversation, "start");
  }

  stoppedTyping(): void {
    if (this.#typing === undefined) return;
    this.#inbox.typing(this.#typing.conversation, "stop");
    this.#typing = undefined;
  }

  watchPresence(user: string): void {
    this.#inbox.watchPresence(user);
  }

  dismiss(notice: number): void {
    this.#dispatch({ type: "notice.dismissed", id: notice });
  }

  #notice(text: string): void {
    this.#dispatch({ type: "notice.raised", text });
  }

  async #loadPage(conversation: string, before: string | undefined): Promise<void> {
    this.#dispatch({ type: "thread.opened", conversation });
    const { generation } = this.#state;
    try {
      const page = await this.#inbox.http.messages(conversation, before);
      this.#dispatch({ type: "thread.page", conversation, generation, page });
    } catch (error) {
      this.#dispatch({ type: "thread.failed", conversation, problem: problemOf(error) });
    }
  }

  async #loadConversation(id: string): Promise<void> {
    if (this.#fetching.has(id)) return;
    this.#fetching.add(id);
    try {
      this.#dispatch({ type: "conversation.loaded", conversation: await this.#inbox.http.conversation(id) });
    } catch (error) {
      if (error instanceof ApiError && !error.isRetryable) this.#dispatch({ type: "conversation.gone", id });
      else setTimeout(() => this.#fetchMissing(), REFETCH_MS);
    } finally {
      this.#fetching.delete(id);
    }
  }

  #updated(update: Update): void {
    this.#dispatch(update);
    if (update.type === "event") this.#fetchMissing();
    if (update.type === "signal") this.#fadeTyping(update.signal.conversation);
  }

  #fetchMissing(): void {
    for (const id of this.#state.missing.keys()) void this.#loadConversation(id);
  }

  #fadeTyping(conversation: string | undefined): void {
    if (conversation === undefined) return;
    const heard = this.#state.typing.get(conversation)?.heard;
    if (heard === undefined) return;
    setTimeout(() => this.#dispatch({ type: "typing.faded", conversation, heard }), TYPING_FADES_MS);
  }

  #dispatch(action: Action): void {
    const known = this.#state.notices;
    this.#state = reduce(this.#state, action);
    for (const notice of this.#state.notices) {
      if (!known.includes(notice)) setTimeout(() => this.dismiss(notice.id), NOTICE_MS);
    }
    for (const listener of this.#listeners) listener();
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  return { code: "page", title: "Something went wrong in this page", detail: String(error) };
}
