/**
 * The right pane: one conversation with its head, messages and composer.
 */
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Controller } from "../app/controller";
import type { Conversation } from "../client";
import { newestFromOthers } from "../state/select";
import type { State } from "../state/state";
import { Avatar } from "./avatar";
import { Composer } from "./composer";
import { duration, phoneLine, windowState } from "./format";
import { useVisible } from "./hooks";
import { BackIcon } from "./icons";
import { MessageList } from "./message-list";

interface Props {
  readonly id: string;
  readonly controller: Controller;
  readonly state: State;
  readonly conversation: Conversation | undefined;
  readonly now: Date;
}

export function ConversationPane({ id, controller, state, conversation, now }: Props): JSX.Element {
  const thread = state.threads.get(id);
  const visible = useVisible();
  const live = state.ready && state.connection.phase === "live";

  // A new snapshot drops what was loaded; `generation` asks for it again.
  useEffect(() => {
    if (state.ready) controller.open(id);
  }, [controller, id, state.ready, state.generation]);

  const newest = thread?.loaded ? newestFromOthers(thread.messages) : undefined;
  useEffect(() => {
    if (visible && newest !== undefined && (conversation?.unread ?? 0) > 0) controller.markRead(id, newest.id);
  }, [controller, id, visible, newest?.id, conversation?.unread]);

  useEffect(() => {
    if (conversation?.assignee !== undefined) controller.watchPresence(conversation.assignee);
    if (conversation?.kind === "direct") {
      for (const member of conversation.members ?? []) {
        if (member !== state.user) controller.watchPresence(member);
      }
    }
  }, [controller, conversation, state.user]);

  if (conversation === undefined) return <NotHere ready={state.ready} />;
  return (
    <section class="conversation" aria-label={`Conversation with ${conversation.title}`} data-live={live}>
      <Head conversation={conversation} state={state} />
      <MessageList controller={controller} state={state} conversation={conversation} thread={thread} now={now} />
      <WindowHint conversation={conversation} now={now} />
      <Composer controller={controller} conversation={id} title={conversation.title} />
    </section>
  );
}

function NotHere({ ready }: { ready: boolean }): JSX.Element {
  return (
    <div class="empty" role="status">
      <p>{ready ? "This conversation is not in your list." : "Loading…"}</p>
      {ready && (
        <p>
          <a href="#/">Back to the inbox</a>
        </p>
      )}
    </div>
  );
}

function Head({ conversation, state }: { conversation: Conversation; state: State }): JSX.Element {
  const { id, title, contact, assignee, labels } = conversation;
  const typing = state.typing.has(id);
  const details = [phoneLine(contact), assigneeLine(assignee, state), directLine(conversation, state)].filter(Boolean);
  return (
    <div class="head">
      <a class="back" href="#/" aria-label="Back to the inbox">
        <BackIcon />
      </a>
      <Avatar id={id} name={title} />
      <div class="head-text">
        <h2>{title}</h2>
        <p class="hint">{typing ? <span class="typing">typing…</span> : details.join(" · ") || "\u00a0"}</p>
      </div>
      {labels?.map((label) => (
        <span key={label} class="label">
          {label}
        </span>
      ))}
      {(conversation.state === "closed" || conversation.state === "snoozed") && (
        <span class="label">{conversation.state}</span>
      )}
    </div>
  );
}

function assigneeLine(assignee: string | undefined, state: State): string | undefined {
  if (assignee === undefined) return undefined;
  if (assignee === state.user) return "Assigned to you";
  const presence = state.presence.get(assignee);
  const name = presence?.name ?? assignee;
  return presence === undefined
    ? `Assigned to ${name}`
    : `Assigned to ${name} (${presence.online ? "online" : "offline"})`;
}

function directLine({ kind, members }: Conversation, state: State): string | undefined {
  const other = kind === "direct" ? members?.find((member) => member !== state.user) : undefined;
  const presence = other === undefined ? undefined : state.presence.get(other);
  if (presence === undefined) return kind === "group" && members ? `${members.length} members` : undefined;
  return presence.online ? "online" : "offline";
}

function WindowHint({ conversation, now }: { conversation: Conversation; now: Date }): JSX.Element | null {
  const window = windowState(conversation, now);
  if (window.kind === "open") return null;
  return (
    <p class={`window-hint window-${window.kind}`} role="note">
      {window.kind === "closing"
        ? `WhatsApp's 24-hour window closes in ${duration(window.leftMs)}.`
        : `WhatsApp's 24-hour window closed ${duration(window.sinceMs)} ago. Until the customer writes again, WhatsApp takes only templates; a text will probably fail.`}
    </p>
  );
}
