/**
 * The messages of the open conversation: days, bubbles, older pages at the top, and a place at the end that follows new ones.
 */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Controller } from "../app/controller";
import type { Conversation, Message, Pending } from "../client";
import { asMessage, pendingIn } from "../state/select";
import type { State } from "../state/state";
import type { Thread } from "../state/thread";
import { Bubble } from "./bubble";
import { dayKey, dayLabel } from "./format";
import { DownIcon } from "./icons";

/** Closer to the end than this, a reader wants to see what is new. */
const NEAR_END_PX = 120;
/** Messages of one sender within this stand together as one group. */
const GROUP_MS = 5 * 60 * 1000;

interface Props {
  readonly controller: Controller;
  readonly state: State;
  readonly conversation: Conversation;
  readonly thread: Thread | undefined;
  readonly now: Date;
}

interface Line {
  readonly key: string;
  readonly message: Message;
  /** Present for a message that still waits for the server. */
  readonly pending?: Pending;
  readonly newDay: boolean;
  readonly opensGroup: boolean;
}

export function MessageList({ controller, state, conversation, thread, now }: Props): JSX.Element {
  const lines = useMemo(
    () => toLines(thread?.messages ?? [], pendingIn(state, conversation.id), state.user),
    [thread, state.pending, state.user, conversation.id],
  );
  const byId = useMemo(() => new Map(thread?.messages.map((message) => [message.id, message])), [thread]);
  const box = useRef<HTMLDivElement>(null);
  const { atEnd, toEnd, onScroll } = useFollowing(box, lines);
  useOlder(box, controller, conversation.id, thread);

  return (
    <div class="messages-frame">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard */}
      <section class="messages" ref={box} tabIndex={0} aria-label="Messages" onScroll={onScroll}>
        <Top thread={thread} retry={() => retry(controller, conversation.id, thread)} />
        <ol>
          {lines.map(({ key, message, pending, newDay, opensGroup }) => (
            <li key={key} class={opensGroup ? "line opens" : "line"}>
              {newDay && (
                <div class="day">
                  <span>{dayLabel(message.created_at, now)}</span>
                </div>
              )}
              <Bubble
                controller={controller}
                message={message}
                pending={pending}
                named={opensGroup && isNamed(message, conversation, state.user)}
                repliesTo={message.reply_to === undefined ? undefined : byId.get(message.reply_to)}
              />
            </li>
          ))}
        </ol>
      </section>
      {!atEnd && (
        <button type="button" class="to-end" onClick={toEnd} aria-label="Go to the newest message">
          <DownIcon />
        </button>
      )}
    </div>
  );
}

function Top({ thread, retry }: { thread: Thread | undefined; retry: () => void }): JSX.Element | null {
  if (thread?.problem !== undefined) {
    return (
      <div class="top" role="alert">
        <p>
          Messages could not be loaded. {thread.problem.title}. {thread.problem.detail}{" "}
          <span class="code">{thread.problem.code}</span>
        </p>
        <button type="button" onClick={retry}>
          Try again
        </button>
      </div>
    );
  }
  if (thread === undefined || thread.loading) {
    return (
      <p class="top" role="status">
        Loading…
      </p>
    );
  }
  if (!thread.complete) return <p class="top">&nbsp;</p>;
  return <p class="top">{thread.messages.length === 0 ? "No messages yet." : "The conversation starts here."}</p>;
}

function retry(controller: Controller, conversation: string, thread: Thread | undefined): void {
  if (thread?.loaded) controller.loadOlder(conversation);
  else controller.open(conversation);
}

/** Keeps the view at the end while the reader is there, and where the reader is while older messages come in above. */
function useFollowing(box: { readonly current: HTMLDivElement | null }, lines: readonly Line[]) {
  const [atEnd, setAtEnd] = useState(true);
  const following = useRef(true);
  const seen = useRef<{ first: string | undefined; height: number }>({ first: undefined, height: 0 });
  const last = lines.at(-1);

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const first = lines[0]?.key;
    if (following.current) element.scrollTop = element.scrollHeight;
    else if (seen.current.first !== first) element.scrollTop += element.scrollHeight - seen.current.height;
    seen.current = { first, height: element.scrollHeight };
  }, [box, lines]);

  // One's own new message is always worth seeing.
  const ownNew = last?.pending !== undefined ? last.key : undefined;
  useLayoutEffect(() => {
    const element = box.current;
    if (ownNew !== undefined && element !== null) element.scrollTop = element.scrollHeight;
  }, [box, ownNew]);

  // The keyboard of a phone and a growing composer make the box smaller without a scroll event.
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => {
      if (following.current) element.scrollTop = element.scrollHeight;
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [box]);

  const onScroll = () => {
    const element = box.current;
    if (element === null) return;
    following.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_END_PX;
    setAtEnd(following.current);
  };
  const toEnd = () => box.current?.scrollTo({ top: box.current.scrollHeight });
  return { atEnd, toEnd, onScroll };
}

/** Asks for older messages when the reader comes near the first one, also when a page does not fill the box. */
function useOlder(
  box: { readonly current: HTMLDivElement | null },
  controller: Controller,
  conversation: string,
  thread: Thread | undefined,
): void {
  const first = thread?.messages[0]?.id;
  // Each page moves the top, which must be watched anew.
  useEffect(() => {
    const top = box.current?.firstElementChild;
    if (!thread?.loaded || thread.loading || thread.complete || thread.problem || !top) return;
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (entry?.isIntersecting) controller.loadOlder(conversation);
      },
      { root: box.current, rootMargin: "200px" },
    );
    observer.observe(top);
    return () => observer.disconnect();
  }, [box, controller, conversation, thread?.loaded, thread?.loading, thread?.complete, thread?.problem, first]);
}

function toLines(messages: readonly Message[], pending: readonly Pending[], user: string): Line[] {
  const all = [
    ...messages.map((message) => ({ message })),
    ...pending.map((item) => ({ message: asMessage(item, user), pending: item })),
  ];
  return all.map((item, index) => {
    const { message } = item;
    const before = all[index - 1]?.message;
    const newDay = before === undefined || dayKey(before.created_at) !== dayKey(message.created_at);
    const together =
      before !== undefined &&
      !newDay &&
      before.direction === message.direction &&
      before.sender.id === message.sender.id &&
      Date.parse(message.created_at) - Date.parse(before.created_at) < GROUP_MS;
    // The element of an own message stays the same when the server's message takes the place of the waiting one.
    return { key: message.command_id ?? message.id, ...item, newDay, opensGroup: !together };
  });
}

/** Whose message it is needs saying in groups, and where a colleague answered. */
function isNamed(message: Message, conversation: Conversation, user: string): boolean {
  if (message.sender.kind === "user") return message.sender.id !== user;
  return conversation.kind === "group";
}
