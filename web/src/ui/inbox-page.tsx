/**
 * The page of a signed-in user: list on the left, conversation on the right; on a phone one of the two.
 */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Controller } from "../app/controller";
import { signOut } from "../app/session";
import { totalUnread } from "../state/select";
import type { State } from "../state/state";
import { Avatar } from "./avatar";
import { ConnectionBar, ConnectionMark, STOPPED } from "./connection";
import { ConversationList } from "./conversation-list";
import { ConversationPane } from "./conversation-pane";
import { fullTime, preview } from "./format";
import { closeConversation, useInboxState, useNow, useSelectedConversation } from "./hooks";
import { CloseIcon } from "./icons";
import { SignIn } from "./sign-in";

export function InboxPage({ controller }: { controller: Controller }): JSX.Element {
  const state = useInboxState(controller);
  const selected = useSelectedConversation();
  const now = useNow();
  const unread = useMemo(() => totalUnread(state.conversations), [state.conversations]);

  useEffect(() => {
    document.title = unread > 0 ? `(${unread}) Inbox` : "Inbox";
  }, [unread]);
  useEscape(selected);

  const { connection } = state;
  if (connection.phase === "stopped" && connection.cause !== "taken_over" && !state.ready) {
    // Refused before anything was shown: there is nothing to keep on the screen.
    return <SignIn reason={STOPPED[connection.cause]} />;
  }
  const conversation = selected === undefined ? undefined : state.conversations.get(selected);
  return (
    <div class="page" data-open={selected !== undefined}>
      <ConnectionBar controller={controller} connection={state.connection} problem={state.syncProblem} />
      <div class="panes">
        <div class="list-pane">
          <header class="list-head">
            <h1>Inbox</h1>
            <ConnectionMark connection={state.connection} />
            <UserMenu controller={controller} waiting={state.pending.length} />
          </header>
          <ConversationList controller={controller} state={state} selected={selected} now={now} />
        </div>
        <main class="conversation-pane">
          {selected === undefined ? (
            <Welcome />
          ) : (
            <ConversationPane
              key={selected}
              id={selected}
              controller={controller}
              state={state}
              conversation={conversation}
              now={now}
            />
          )}
        </main>
      </div>
      <Notices controller={controller} state={state} />
      <Announcer state={state} />
    </div>
  );
}

function Welcome(): JSX.Element {
  return (
    <div class="empty">
      <img src="/favicon.svg" alt="" width={56} height={56} />
      <p>Choose a conversation</p>
      <p class="hint">
        <kbd>↑</kbd> <kbd>↓</kbd> walk the list, <kbd>Enter</kbd> opens, <kbd>Esc</kbd> closes.
      </p>
    </div>
  );
}

function UserMenu({ controller, waiting }: { controller: Controller; waiting: number }): JSX.Element {
  const { claims } = controller.session;
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: Event) => {
      if (target instanceof Node && !menu.current?.contains(target)) menu.current?.removeAttribute("open");
    };
    addEventListener("pointerdown", close);
    return () => removeEventListener("pointerdown", close);
  }, []);
  const leave = () => {
    const lost = `${waiting} unsent ${waiting === 1 ? "message" : "messages"} will be lost. Sign out anyway?`;
    if (waiting > 0 && !confirm(lost)) return;
    controller.end();
    signOut();
    location.assign("/");
    // Only the fragment may differ, and then assigning reloads nothing.
    location.reload();
  };
  return (
    <details class="user-menu" ref={menu}>
      <summary aria-label={`Signed in as ${claims.user}`}>
        <Avatar id={claims.user} name={claims.user} small />
      </summary>
      <div class="popover">
        <dl>
          <dt>User</dt>
          <dd>{claims.user}</dd>
          <dt>Account</dt>
          <dd>{claims.account}</dd>
          {claims.role !== undefined && (
            <>
              <dt>Role</dt>
              <dd>{claims.role}</dd>
            </>
          )}
          {claims.expires !== undefined && (
            <>
              <dt>Signed in until</dt>
              <dd>{fullTime(new Date(claims.expires * 1000).toISOString())}</dd>
            </>
          )}
        </dl>
        <button type="button" onClick={leave}>
          Sign out
        </button>
      </div>
    </details>
  );
}

function Notices({ controller, state }: { controller: Controller; state: State }): JSX.Element {
  return (
    <div class="notices" role="status">
      {state.notices.map(({ id, text }) => (
        <div key={id} class="notice">
          <span>{text}</span>
          <button type="button" class="plain" aria-label="Dismiss" onClick={() => controller.dismiss(id)}>
            <CloseIcon />
          </button>
        </div>
      ))}
    </div>
  );
}

/** Reads new messages of others to people who do not see them arrive. */
function Announcer({ state }: { state: State }): JSX.Element {
  const message = state.announced;
  const from = message && (message.sender.name ?? state.conversations.get(message.conversation)?.title ?? "somebody");
  return (
    <div class="unseen" aria-live="polite">
      {message && (
        <span key={message.id}>
          {from}: {preview(message)}
        </span>
      )}
    </div>
  );
}

/** Escape leaves the conversation and puts the focus where it came from. */
function useEscape(selected: string | undefined): void {
  useEffect(() => {
    if (selected === undefined) return;
    const leave = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing) return;
      closeConversation();
      document.querySelector<HTMLElement>(`a[data-conversation="${CSS.escape(selected)}"]`)?.focus();
    };
    addEventListener("keydown", leave);
    return () => removeEventListener("keydown", leave);
  }, [selected]);
}
