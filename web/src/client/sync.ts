/**
 * Joining a snapshot and a stream into one sequence without a gap and without a repeat (S1-S4, I7; contract, section 5
 * "Cursor"): subscribe, fetch the snapshot, drop events with `seq` ≤ its head, then take each next number.
 *
 * Pure: what happened goes in, the events to apply and what to fetch come out. A number that is missing is fetched; a
 * number that came before is dropped; another `epoch` or a gap that retention left asks for a new snapshot.
 * Not here: the fetching and its repetition (`inbox.ts`).
 */
import type { InboxEvent, InboxGap, Position } from "./types";

/**
 * Events held while an answer is on its way. Beyond it they are let go and fetched again afterwards, so that a long backlog
 * behind a slow snapshot costs time and not memory.
 */
export const MOST_HELD = 2000;

type Arrival = InboxEvent | InboxGap;

export type Feed =
  | { readonly phase: "joining"; readonly held: readonly Arrival[]; readonly spilled: boolean }
  | {
      readonly phase: "catching_up";
      readonly position: Position;
      readonly held: readonly Arrival[];
      readonly spilled: boolean;
    }
  | { readonly phase: "live"; readonly position: Position };

export type Fetch = { readonly kind: "snapshot" } | { readonly kind: "after"; readonly position: Position };

export interface Step {
  readonly feed: Feed;
  /** In order, each exactly once. */
  readonly apply: readonly InboxEvent[];
  /** Present when the caller must start a fetch. At most one is under way at a time. */
  readonly fetch?: Fetch;
}

/** At the first subscription: nothing is known yet. */
export function join(): Step {
  return { feed: { phase: "joining", held: [], spilled: false }, apply: [], fetch: { kind: "snapshot" } };
}

/**
 * The subscription stands again after a broken connection. The session's cursor brings what was missed; asking over HTTP as
 * well costs one small request and also covers a session that the server no longer has. An answer still on its way may be
 * older than the new subscription, so another one follows it.
 */
export function resume(feed: Feed): Step {
  return feed.phase === "live" ? catchUp(feed.position, []) : { feed: { ...feed, spilled: true }, apply: [] };
}

/** One message of the stream. */
export function arrive(feed: Feed, arrival: Arrival): Step {
  if (feed.phase !== "live") return { feed: hold(feed, arrival), apply: [] };
  const { position } = feed;
  if (isGap(arrival)) {
    const known = (arrival.epoch ?? position.epoch) === position.epoch && arrival.data.to <= position.seq;
    return known ? { feed, apply: [] } : join();
  }
  if (arrival.epoch !== position.epoch) {
    return { ...join(), feed: { phase: "joining", held: [arrival], spilled: false } };
  }
  if (arrival.seq <= position.seq) return { feed, apply: [] };
  if (arrival.seq > position.seq + 1) return catchUp(position, [arrival]);
  return { feed: { phase: "live", position: { epoch: arrival.epoch, seq: arrival.seq } }, apply: [arrival] };
}

/** A snapshot arrived that stands at `position`. */
export function snapshotArrived(feed: Feed, position: Position): Step {
  return release(feed, position, []);
}

/** An answer to `after` arrived: `events`, and whether there are `more`. */
export function eventsArrived(
  feed: Feed,
  answer: { readonly epoch: string; readonly events: readonly InboxEvent[]; readonly more: boolean },
): Step {
  if (feed.phase !== "catching_up") return { feed, apply: [] };
  let position = feed.position;
  if (answer.epoch !== position.epoch) return join();
  const apply: InboxEvent[] = [];
  for (const event of answer.events) {
    if (event.seq <= position.seq) continue;
    // The server skipped a number without saying so; only a snapshot tells the whole again.
    if (event.seq !== position.seq + 1) return { ...join(), apply };
    apply.push(event);
    position = { epoch: position.epoch, seq: event.seq };
  }
  if (answer.more && apply.length > 0) {
    return { feed: { ...feed, position }, apply, fetch: { kind: "after", position } };
  }
  return release(feed, position, apply);
}

function release(feed: Feed, position: Position, applied: readonly InboxEvent[]): Step {
  const held = feed.phase === "live" ? [] : feed.held;
  const spilled = feed.phase !== "live" && feed.spilled;
  const apply = [...applied];
  let step: Step = { feed: { phase: "live", position }, apply: [] };
  let fetch: Fetch | undefined;
  for (const arrival of held) {
    step = arrive(step.feed, arrival);
    apply.push(...step.apply);
    fetch ??= step.fetch;
  }
  if (spilled && step.feed.phase === "live") {
    step = catchUp(step.feed.position, []);
    fetch = step.fetch;
  }
  return { feed: step.feed, apply, ...(fetch && { fetch }) };
}

function catchUp(position: Position, held: readonly Arrival[]): Step {
  return {
    feed: { phase: "catching_up", position, held, spilled: false },
    apply: [],
    fetch: { kind: "after", position },
  };
}

function hold<Waiting extends Exclude<Feed, { phase: "live" }>>(feed: Waiting, arrival: Arrival): Waiting {
  return feed.held.length < MOST_HELD
    ? { ...feed, held: [...feed.held, arrival] }
    : { ...feed, held: [], spilled: true };
}

function isGap(arrival: Arrival): arrival is InboxGap {
  return arrival.type === "inbox.gap";
}
