/**
 * O10: the rule by which a status moves, the whole table of it.
 */
import { describe, expect, it } from "vitest";
import type { Status } from "../../src/client";
import { mayBecome, merged, withStatus } from "../../src/state/status";
import { own } from "./build";

const ALLOWED: Readonly<Record<Status, readonly Status[]>> = {
  sending: ["unknown", "sent", "delivered", "read", "played", "failed"],
  unknown: ["sent", "delivered", "read", "played", "failed"],
  sent: ["delivered", "read", "played", "failed"],
  delivered: ["read", "played"],
  read: ["played"],
  played: [],
  failed: ["delivered", "read", "played"],
};
const ALL = Object.keys(ALLOWED) as Status[];

describe("O10: a status", () => {
  for (const from of ALL) {
    for (const to of ALL) {
      const allowed = ALLOWED[from].includes(to);
      it(`${from} ${allowed ? "becomes" : "does not become"} ${to}`, () => {
        expect(mayBecome(from, to)).toBe(allowed);
      });
    }
  }

  it("that fails carries its error, and a later delivery takes the error away", () => {
    const error = { code: "window_closed", title: "Re-engagement message", meta_code: 131047 };
    const failed = withStatus(own("m"), { message: "m", status: "failed", error, at: "2026-11-20T21:00:00.000Z" });
    expect(failed).toMatchObject({ status: "failed", error });
    const delivered = withStatus(failed, { message: "m", status: "delivered", at: "2026-11-20T21:01:00.000Z" });
    expect(delivered.status).toBe("delivered");
    expect(delivered).not.toHaveProperty("error");
  });

  it("that stays still takes the wamid", () => {
    const named = withStatus(own("m"), { message: "m", wamid: "wamid.X", status: "sending", at: "later" });
    expect(named).toMatchObject({ status: "sending", wamid: "wamid.X" });
  });

  it("of a name nobody knows is ignored", () => {
    const future = "teleported" as Status;
    expect(withStatus(own("m"), { message: "m", status: future, at: "later" }).status).toBe("sending");
  });
});

describe("two tellings of one message", () => {
  it("give the later text and the further status, whichever comes first", () => {
    const read = own("m", { text: "old", status: "read", updated_at: "2026-11-20T20:00:00.000Z" });
    const edited = own("m", { text: "new", status: "sent", updated_at: "2026-11-20T20:05:00.000Z" });
    expect(merged(read, edited)).toMatchObject({ text: "new", status: "read" });
    expect(merged(edited, read)).toMatchObject({ text: "new", status: "read" });
  });
});
