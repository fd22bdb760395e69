/**
 * The one rule by which a message's status moves (O10; contract, section 5 "Status"). The server applies it before it
 * announces anything; the page applies it again, because history and stream may tell the same thing in any order.
 *
 * Pure.
 */
import type { Message, Status, StatusChange } from "../client";

const RANK: Readonly<Record<Status, number>> = {
  sending: 0,
  unknown: 0,
  failed: 0,
  sent: 1,
  delivered: 2,
  read: 3,
  played: 4,
};

export function isStatus(value: unknown): value is Status {
  return typeof value === "string" && Object.hasOwn(RANK, value);
}

/** Whether a message with status `from` takes `to`. Rises only; `failed` and `unknown` have rules of their own. */
export function mayBecome(from: Status, to: Status): boolean {
  if (to === "failed") return from === "sending" || from === "unknown" || from === "sent";
  if (from === "failed") return RANK[to] >= RANK.delivered;
  if (to === "unknown") return from === "sending";
  return RANK[to] > RANK[from];
}

/** `message` once `change` is known. The wamid is taken even where the status stays. */
export function withStatus(message: Message, change: StatusChange): Message {
  const named =
    change.wamid !== undefined && message.wamid === undefined ? { ...message, wamid: change.wamid } : message;
  if (!isStatus(change.status) || !mayBecome(message.status, change.status)) return named;
  const { error: _, ...rest } = named;
  return {
    ...rest,
    status: change.status,
    updated_at: change.at,
    ...(change.error && { error: change.error }),
  };
}

/** Two tellings of one message: the later content, the status that has risen further. */
export function merged(known: Message, told: Message): Message {
  const [older, newer] = told.updated_at >= known.updated_at ? [known, told] : [told, known];
  const further = {
    message: newer.id,
    status: older.status,
    at: older.updated_at,
    ...(older.error && { error: older.error }),
  };
  const result = withStatus(newer, further);
  return result.wamid === undefined && older.wamid !== undefined ? { ...result, wamid: older.wamid } : result;
}
