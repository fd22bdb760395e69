/**
 * The left pane: conversations, newest activity first (S4).
 */
import type { JSX, TargetedKeyboardEvent } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Controller } from "../app/controller";
import type { Conversation, Pending } from "../client";
import { asMessage, sortedConversations } from "../state/select";
import type { State } from "../state/state";
import { Avatar } from "./avatar";
import { fullTime, listTime, preview } from "./format";
import { conversationHref } from "./hooks";
import { KindIcon } from "./icons";
import { StatusMark } from "./status-mark";

interface Props {
  readonly controller: Controller;
  readonly state: State;
  readonly selected: string | undefined;
  readonly now: Date;
}

export function ConversationList({ controller, state, selected, now }: Props): JSX.Element {
  const sorted = useMemo(() => sortedConversations(state.conversations), [state.conversations]);
  const waiting = useMemo(
    () => new Map(state.pending.map((item) => [item.command.conversation, item])),
    [state.pending],
  );
  const more = useRef<HTMLDivElement>(null);

  // A longer list moves the end, which must be watched anew.
  useEffect(() => {
    if (more.current === null) return;
    const observer = new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting) void controller.loadMoreConversations();
    });
    observer.observe(more.current);
    return () => observer.disconnect();
  }, [controller, sorted.length]);

  if (!state.ready) return <LoadingList problem={state.syncProblem?.title} />;
  if (sorted.length === 0) {
    return (
      <div class="empty">
        <p>No conversations yet.</p>
        <p class="hint">As soon as somebody writes, it appears here.</p>
      </div>
    );
  }
  return (
    <nav class="conversations" aria-label="Conversations">
      <ul onKeyDown={moveFocus}>
        {sorted.map((conversation) => (
          <Row
            key={conversation.id}
            conversation={conversation}
            waiting={waiting.get(conversation.id)}
            typing={state.typing.has(conversation.id)}
            user={state.user}
            selected={conversation.id === selected}
            now={now}
          />
        ))}
      </ul>
      {state.moreConversations !== null && (
        <div ref={more} class="loading-more">
          Loading more…
        </div>
      )}
    </nav>
  );
}

interface RowProps {
  readonly conversation: Conversation;
  readonly waiting: Pending | undefined;
  readonly typing: boolean;
  readonly user: string;
  readonly selected: boolean;
  readonly now: Date;
}

function Row({ conversation, waiting, typing, user, selected, now }: RowProps): JSX.Element {
  const last = waiting ? asMessage(waiting, user) : conversation.last_message;
  const at = last?.created_at ?? conversation.updated_at;
  const { unread } = conversation;
  return (
    <li>
      <a
        class="row"
        href={conversationHref(conversation.id)}
        aria-current={selected ? "true" : undefined}
        data-conversation={conversation.id}
        data-unread={unread}
      >
        <Avatar id={conversation.id} name={conversation.title} />
        <span class="row-top">
          <span class="row-title">{conversation.title}</span>
          <time class="row-time" dateTime={at} title={fullTime(at)}>
            {listTime(at, now)}
          </time>
        </span>
        <span class="row-last">
          {typing ? (
            <span class="row-text typing">typing…</span>
          ) : (
            <>
              {last?.direction === "out" && <StatusMark status={last.status} />}
              {last && <KindIcon kind={last.kind} />}
              <span class="row-text">{last ? preview(last) : "No messages yet"}</span>
            </>
          )}
          {unread > 0 && (
            <span class="badge">
              {unread > 99 ? "99+" : unread}
              <span class="unseen"> unread</span>
            </span>
          )}
        </span>
      </a>
    </li>
  );
}

function LoadingList({ problem }: { problem: string | undefined }): JSX.Element {
  if (problem !== undefined) {
    return (
      <div class="empty" role="status">
        <p>Your inbox could not be loaded.</p>
        <p class="hint">{problem}. It is tried again by itself.</p>
      </div>
    );
  }
  return (
    <div class="conversations skeletons" role="status">
      <span class="unseen">Loading your inbox</span>
      {[0, 1, 2, 3].map((row) => (
        <div key={row} class="row skeleton" aria-hidden="true">
          <span class="avatar" />
          <span class="row-title" />
          <span class="row-last" />
        </div>
      ))}
    </div>
  );
}

/** Arrow keys walk the list, as in every mail program; Tab leaves it. */
function moveFocus(event: TargetedKeyboardEvent<HTMLUListElement>): void {
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>("a.row")];
  const here = rows.indexOf(document.activeElement as HTMLElement);
  const target = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  rows[Math.min(Math.max(target, 0), rows.length - 1)]?.focus();
}
