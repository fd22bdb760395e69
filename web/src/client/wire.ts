/**
 * Reading what arrives on the inbox, signals and status topics (I7). Bytes that are no JSON object of the expected form give
 * undefined: one odd message must not end the page (promise P9, from the other side).
 *
 * Pure. Fields are trusted once the envelope is sound; the server validated them when it wrote them.
 */
import type { InboxEvent, InboxGap, Presence, Signal } from "./types";

const decoder = new TextDecoder();

export function readArrival(payload: Uint8Array): InboxEvent | InboxGap | undefined {
  const event = readObject(payload);
  if (event === undefined || typeof event.type !== "string") return undefined;
  if (event.type === "inbox.gap") {
    const { from, to } = isObject(event.data) ? event.data : {};
    return typeof from === "number" && typeof to === "number" ? (event as unknown as InboxGap) : undefined;
  }
  // `data` of any form passes: an event that is not understood still takes its place in the sequence.
  const placed = typeof event.epoch === "string" && Number.isSafeInteger(event.seq);
  return placed ? (event as unknown as InboxEvent) : undefined;
}

export function readSignal(payload: Uint8Array): Signal | undefined {
  const signal = readObject(payload);
  return typeof signal?.type === "string" ? (signal as unknown as Signal) : undefined;
}

export function readPresence(payload: Uint8Array): Presence | undefined {
  const presence = readObject(payload);
  return typeof presence?.online === "boolean" ? (presence as unknown as Presence) : undefined;
}

function readObject(payload: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(payload));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
