/**
 * One message: who, what, when, how far it came, and if it failed, what to do.
 */
import type { ComponentChildren, JSX } from "preact";
import type { Controller } from "../app/controller";
import type { Message, Pending } from "../client";
import { advice, clockTime, fullTime, kindName, mediaSize, preview } from "./format";
import { KindIcon } from "./icons";
import { StatusMark } from "./status-mark";

interface Props {
  readonly controller: Controller;
  readonly message: Message;
  readonly pending: Pending | undefined;
  readonly named: boolean;
  readonly repliesTo: Message | undefined;
}

export function Bubble({ controller, message, pending, named, repliesTo }: Props): JSX.Element {
  if (message.kind === "system") return <p class="system">{message.text}</p>;
  const { direction, status } = message;
  return (
    <div
      class={`message message-${direction}`}
      data-message={message.id}
      data-command={message.command_id}
      data-direction={direction}
      data-status={status}
    >
      <div class="bubble">
        {named && <p class="sender">{message.sender.name ?? message.sender.id}</p>}
        {message.reply_to !== undefined && (
          <p class="quote">{repliesTo ? preview(repliesTo) : "In reply to an earlier message"}</p>
        )}
        <Thing message={message} />
        {message.text !== undefined && <p class="text">{withLinks(message.text)}</p>}
        <p class="meta">
          <time dateTime={message.created_at} title={fullTime(message.created_at)}>
            {clockTime(message.created_at)}
          </time>
          {direction === "out" && <StatusMark status={status} />}
        </p>
      </div>
      <Reactions message={message} />
      {direction === "out" && status === "failed" && (
        <Failure controller={controller} message={message} pending={pending} />
      )}
      {direction === "out" && status === "unknown" && (
        <p class="trouble trouble-mild">
          WhatsApp has not said whether this arrived. It settles by itself; sending it again could deliver it twice.
        </p>
      )}
    </div>
  );
}

/** What is not text is shown by its kind. Its payload may be anything, and belongs to richer clients. */
function Thing({ message }: { message: Message }): JSX.Element | null {
  const name = kindName(message);
  if (name === undefined) return null;
  const { media } = message;
  const about = media && [mediaSize(media), media.state === "failed" ? "could not be fetched" : ""].filter(Boolean);
  return (
    <p class={message.text === undefined ? "thing alone" : "thing"}>
      <KindIcon kind={message.kind} />
      {name}
      {about !== undefined && about.length > 0 && <span class="hint"> · {about.join(" · ")}</span>}
    </p>
  );
}

function Reactions({ message: { reactions } }: { message: Message }): JSX.Element | null {
  if (!Array.isArray(reactions) || reactions.length === 0) return null;
  return (
    <p class="reactions">
      <span class="unseen">Reactions: </span>
      {[...new Set(reactions.map(({ emoji }) => emoji))].join(" ")}
    </p>
  );
}

interface FailureProps {
  readonly controller: Controller;
  readonly message: Message;
  readonly pending: Pending | undefined;
}

function Failure({ controller, message, pending }: FailureProps): JSX.Element {
  const error = message.error ?? { code: "unknown", title: "It was not sent" };
  const again = () => {
    if (pending !== undefined) controller.sendAgain(pending);
    else if (message.text !== undefined) controller.send(message.conversation, message.text);
  };
  return (
    <div class="trouble">
      <p>
        <strong>{error.title}.</strong> {error.detail} {advice(error)}{" "}
        <span class="code">{error.meta_code ?? error.code}</span>
      </p>
      <p class="actions">
        {message.kind === "text" && (
          <button type="button" onClick={again}>
            Send again
          </button>
        )}
        {pending !== undefined && (
          <button type="button" onClick={() => controller.discard(message.id)}>
            Discard
          </button>
        )}
      </p>
    </div>
  );
}

const LINK = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}]/g;

/** Web addresses become links; all else stays text. */
function withLinks(text: string): ComponentChildren[] {
  const parts: ComponentChildren[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    parts.push(text.slice(end, match.index));
    parts.push(
      <a key={match.index} href={match[0]} target="_blank" rel="noopener noreferrer">
        {match[0]}
      </a>,
    );
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}
