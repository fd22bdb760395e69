/**
 * What the end of a connection means (contract, section 5 "Refusals"): go on by itself, or stop and ask the user.
 *
 * Pure. Three things may tell why: the reason code of a CONNACK or DISCONNECT, its reason string, and the WebSocket close
 * code. The packet is the surer witness and is asked first; when a refused CONNECT makes the client close at once, the close
 * code never arrives.
 */

export interface Witness {
  /** Reason code of CONNACK or DISCONNECT. */
  readonly reasonCode?: number;
  readonly reasonString?: string;
  readonly closeCode?: number;
}

/** Why a connection stopped for good: trying again with the same token and client id would end the same way. */
export type StopCause = "no_token" | "token" | "token_revoked" | "blocked" | "taken_over";

/** Why a connection broke; it is tried again. */
export type BreakCause = "network" | "busy" | "stopping" | "protocol";

export type Ending =
  | { readonly kind: "stop"; readonly cause: StopCause }
  | { readonly kind: "retry"; readonly cause: BreakCause };

const byReasonCode: ReadonlyMap<number, Ending> = new Map([
  [0x81, { kind: "retry", cause: "protocol" }],
  [0x82, { kind: "retry", cause: "protocol" }],
  [0x85, { kind: "stop", cause: "token" }],
  [0x87, { kind: "stop", cause: "token" }],
  [0x88, { kind: "retry", cause: "busy" }],
  [0x89, { kind: "retry", cause: "busy" }],
  [0x8a, { kind: "stop", cause: "blocked" }],
  [0x8b, { kind: "retry", cause: "stopping" }],
  [0x8e, { kind: "stop", cause: "taken_over" }],
]);

const byCloseCode: ReadonlyMap<number, Ending> = new Map([
  [4001, { kind: "stop", cause: "no_token" }],
  [4002, { kind: "stop", cause: "token" }],
  [4003, { kind: "stop", cause: "blocked" }],
  [4004, { kind: "retry", cause: "busy" }],
  [4005, { kind: "stop", cause: "taken_over" }],
  [4006, { kind: "retry", cause: "protocol" }],
  [4007, { kind: "retry", cause: "stopping" }],
]);

export function readEnding({ reasonCode, reasonString, closeCode }: Witness): Ending {
  if (reasonString === "token_revoked") return { kind: "stop", cause: "token_revoked" };
  if (reasonString === "token_expired") return { kind: "stop", cause: "token" };
  // A code without a row (keep-alive timeout, a lost network's 1006) says nothing about us: try again.
  return (
    (reasonCode !== undefined && byReasonCode.get(reasonCode)) ||
    (closeCode !== undefined && byCloseCode.get(closeCode)) || { kind: "retry", cause: "network" }
  );
}
