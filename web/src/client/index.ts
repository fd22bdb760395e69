/**
 * The client of an inbox: connection, joined event sequence, commands. Use it without the page:
 *
 * ```ts
 * const inbox = new Inbox({ origin, token, claims, clientId, storage: localStorage, onUpdate: console.log });
 * inbox.start();
 * inbox.send(conversation, "Good morning");
 * ```
 */
export type { ConnectionState } from "./connection";
export type { BreakCause, StopCause } from "./ending";
export { ApiError, HttpApi, type Problem, type User } from "./http";
export { newId } from "./ids";
export { Inbox, type InboxOptions, type Update } from "./inbox";
export type { KeyValue, Pending } from "./outbox";
export { type Claims, readClaims } from "./token";
export type * from "./types";
