/**
 * The mark behind an own message: how far it has come (O10).
 */
import type { JSX } from "preact";
import type { Status } from "../client";
import { CheckIcon, ChecksIcon, ClockIcon, FailedIcon, UnknownIcon } from "./icons";

const MARKS: Readonly<Record<Status, readonly [draw: () => JSX.Element, meaning: string]>> = {
  sending: [ClockIcon, "Sending"],
  unknown: [UnknownIcon, "Not confirmed"],
  sent: [CheckIcon, "Sent"],
  delivered: [ChecksIcon, "Delivered"],
  read: [ChecksIcon, "Read"],
  played: [ChecksIcon, "Played"],
  failed: [FailedIcon, "Failed"],
};

export function StatusMark({ status }: { status: Status }): JSX.Element {
  const [Draw, meaning] = MARKS[status] ?? MARKS.sending;
  return (
    <span class={`mark mark-${status}`} title={meaning}>
      <Draw />
      <span class="unseen">{meaning}</span>
    </span>
  );
}
