/**
 * S1-S4: a snapshot and a stream become one sequence, without a gap and without a repeat.
 */
import { describe, expect, it } from "vitest";
import {
  arrive,
  eventsArrived,
  type Feed,
  join,
  MOST_HELD,
  resume,
  type Step,
  snapshotArrived,
} from "../../src/client/sync";
import type { InboxEvent, InboxGap } from "../../src/client/types";
import { EPOCH, event, message } from "./build";

const at = (seq: number, epoch = EPOCH): InboxEvent => event(seq, "message.created", message(`m${seq}`), { epoch });
const gap = (from: number, to: number, epoch = EPOCH): InboxGap => ({ type: "inbox.gap", epoch, data: { from, to } });
const live = (seq: number): Feed => ({ phase: "live", position: { epoch: EPOCH, seq } });
const numbers = (step: Step): number[] => step.apply.map(({ seq }) => seq);

describe("S1: joining", () => {
  it("asks for a snapshot and applies nothing before it", () => {
    const start = join();
    expect(start.fetch).toEqual({ kind: "snapshot" });
    const early = arrive(start.feed, at(7));
    expect(early.apply).toEqual([]);
    expect(early.fetch).toBeUndefined();
  });

  it("drops what the snapshot holds and applies the rest, in order", () => {
    let { feed } = join();
    for (const seq of [5, 6, 7, 8]) feed = arrive(feed, at(seq)).feed;
    const joined = snapshotArrived(feed, { epoch: EPOCH, seq: 6 });
    expect(numbers(joined)).toEqual([7, 8]);
    expect(joined.feed).toEqual(live(8));
    expect(joined.fetch).toBeUndefined();
  });

  it("fetches a number that is missing between the snapshot and the stream", () => {
    const held = arrive(arrive(join().feed, at(9)).feed, at(10)).feed;
    const joined = snapshotArrived(held, { epoch: EPOCH, seq: 6 });
    expect(joined.apply).toEqual([]);
    expect(joined.fetch).toEqual({ kind: "after", position: { epoch: EPOCH, seq: 6 } });
    const filled = eventsArrived(joined.feed, { epoch: EPOCH, events: [at(7), at(8)], more: false });
    expect(numbers(filled)).toEqual([7, 8, 9, 10]);
  });

  it("lets go of a backlog that is too long and fetches it after the snapshot", () => {
    let { feed } = join();
    for (let seq = 1; seq <= MOST_HELD + 1; seq++) feed = arrive(feed, at(seq)).feed;
    expect(feed).toMatchObject({ held: [], spilled: true });
    const joined = snapshotArrived(feed, { epoch: EPOCH, seq: 1 });
    expect(joined.fetch).toEqual({ kind: "after", position: { epoch: EPOCH, seq: 1 } });
  });

  it("forgets a gap that lies within the snapshot", () => {
    const { feed } = arrive(join().feed, gap(1, 40));
    expect(snapshotArrived(feed, { epoch: EPOCH, seq: 52 })).toEqual({ feed: live(52), apply: [] });
  });
});

describe("I7: the live stream", () => {
  it("applies the next number once", () => {
    const first = arrive(live(4), at(5));
    expect(numbers(first)).toEqual([5]);
    const again = arrive(first.feed, at(5));
    expect(again).toEqual({ feed: live(5), apply: [] });
  });

  it("fetches what it jumped over, and holds what arrives meanwhile", () => {
    expect(arrive(live(4), at(6)).fetch).toBeDefined();
    const jumped = arrive(live(4), at(7));
    expect(jumped.apply).toEqual([]);
    expect(jumped.fetch).toEqual({ kind: "after", position: { epoch: EPOCH, seq: 4 } });
    const meanwhile = arrive(jumped.feed, at(8));
    expect(meanwhile).toMatchObject({ apply: [] });
    expect(meanwhile.fetch).toBeUndefined();
    const filled = eventsArrived(meanwhile.feed, { epoch: EPOCH, events: [at(5), at(6), at(7)], more: false });
    expect(numbers(filled)).toEqual([5, 6, 7, 8]);
    expect(filled.feed).toEqual(live(8));
  });

  it("takes a new snapshot when the epoch changes", () => {
    const changed = arrive(live(40), at(1, "01JDOTHER"));
    expect(changed.fetch).toEqual({ kind: "snapshot" });
    const joined = snapshotArrived(changed.feed, { epoch: "01JDOTHER", seq: 0 });
    expect(numbers(joined)).toEqual([1]);
  });

  it("takes a new snapshot after a gap that retention left, and none for a gap it has passed", () => {
    expect(arrive(live(40), gap(41, 60)).fetch).toEqual({ kind: "snapshot" });
    expect(arrive(live(40), gap(10, 40))).toEqual({ feed: live(40), apply: [] });
  });
});

describe("S2: catching up", () => {
  const behind = arrive(live(4), at(900)).feed;

  it("goes on page by page", () => {
    const page = eventsArrived(behind, { epoch: EPOCH, events: [at(5), at(6)], more: true });
    expect(numbers(page)).toEqual([5, 6]);
    expect(page.fetch).toEqual({ kind: "after", position: { epoch: EPOCH, seq: 6 } });
  });

  it("does not ask for ever when the server promises more and gives nothing", () => {
    const page = eventsArrived(resume(live(4)).feed, {
      epoch: EPOCH,
      events: [],
      more: true,
    });
    expect(page).toEqual({ feed: live(4), apply: [] });
  });

  it("takes a new snapshot when the server skips a number or has another epoch", () => {
    const skipped = eventsArrived(behind, { epoch: EPOCH, events: [at(5), at(7)], more: false });
    expect(numbers(skipped)).toEqual([5]);
    expect(skipped.fetch).toEqual({ kind: "snapshot" });
    const foreign = eventsArrived(behind, { epoch: "01JDOTHER", events: [], more: false });
    expect(foreign.fetch).toEqual({ kind: "snapshot" });
  });

  it("goes from a reset answer on like from any snapshot", () => {
    const reset = snapshotArrived(behind, { epoch: EPOCH, seq: 899 });
    expect(numbers(reset)).toEqual([900]);
  });
});

describe("a connection that comes back", () => {
  it("asks once what it missed", () => {
    expect(resume(live(12)).fetch).toEqual({ kind: "after", position: { epoch: EPOCH, seq: 12 } });
  });

  it("while an answer is on its way asks again behind it, because that answer may be older than the subscription", () => {
    const waiting = resume(join().feed);
    expect(waiting.fetch).toBeUndefined();
    const joined = snapshotArrived(waiting.feed, { epoch: EPOCH, seq: 3 });
    expect(joined.fetch).toEqual({ kind: "after", position: { epoch: EPOCH, seq: 3 } });
  });
});
