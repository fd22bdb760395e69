/**
 * The client's small parts: ids, tokens, ends of connections, problems, waiting, unsent messages, bytes from the wire.
 */
import { describe, expect, it } from "vitest";
import { backoff } from "../../src/client/backoff";
import { readEnding } from "../../src/client/ending";
import { readProblem } from "../../src/client/http";
import { newId, RANDOM_BYTES, ulid } from "../../src/client/ids";
import { type KeyValue, MOST_PENDING, Outbox } from "../../src/client/outbox";
import { readClaims } from "../../src/client/token";
import type { SendMessage } from "../../src/client/types";
import { readArrival, readPresence, readSignal } from "../../src/client/wire";
import { event, message } from "./build";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("a command id", () => {
  it("is a ULID: the published example of the format", () => {
    expect(ulid(1_469_918_176_385, new Uint8Array(RANDOM_BYTES))).toBe("01ARYZ6S410000000000000000");
    expect(ulid(0, new Uint8Array(RANDOM_BYTES).fill(255))).toBe("0000000000ZZZZZZZZZZZZZZZZ");
  });

  it("fits the server's rule and is new each time", () => {
    const id = newId();
    expect(id).toMatch(/^[A-Za-z0-9._:-]{1,64}$/);
    expect(newId()).not.toBe(id);
  });
});

describe("a token", () => {
  const token = (claims: unknown) => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;

  it("tells user, account and the rest", () => {
    const claims = readClaims(token({ sub: "josé", acc: "acme", dev: "d1", role: "agent", exp: 1_800_000_000 }));
    expect(claims).toEqual({ user: "josé", account: "acme", device: "d1", role: "agent", expires: 1_800_000_000 });
  });

  it("is none without user and account, or without its three parts", () => {
    for (const text of ["", "a.b", "a.!!.c", token([]), token({ sub: "a" }), `${token({ sub: "a", acc: "b" })}.x`]) {
      expect(readClaims(text)).toBeUndefined();
    }
  });
});

describe("the end of a connection", () => {
  it.each([
    [{ closeCode: 4001 }, "stop", "no_token"],
    [{ closeCode: 4002 }, "stop", "token"],
    [{ closeCode: 4003 }, "stop", "blocked"],
    [{ closeCode: 4004 }, "retry", "busy"],
    [{ closeCode: 4005 }, "stop", "taken_over"],
    [{ closeCode: 4006 }, "retry", "protocol"],
    [{ closeCode: 4007 }, "retry", "stopping"],
    [{ closeCode: 1006 }, "retry", "network"],
    [{}, "retry", "network"],
    [{ reasonCode: 0x87 }, "stop", "token"],
    [{ reasonCode: 0x8a, closeCode: 1005 }, "stop", "blocked"],
    [{ reasonCode: 0x85 }, "stop", "token"],
    [{ reasonCode: 0x88 }, "retry", "busy"],
    [{ reasonCode: 0x8e, closeCode: 4005 }, "stop", "taken_over"],
    [{ reasonCode: 0x8b, closeCode: 4007 }, "retry", "stopping"],
    [{ reasonCode: 0x8d }, "retry", "network"],
    [{ reasonCode: 0x87, reasonString: "token_expired", closeCode: 4002 }, "stop", "token"],
    [{ reasonCode: 0x87, reasonString: "token_revoked", closeCode: 4002 }, "stop", "token_revoked"],
  ])("%o means %s: %s", (witness, kind, cause) => {
    expect(readEnding(witness)).toEqual({ kind, cause });
  });
});

describe("waiting", () => {
  it("doubles, is spread, and ends at 30 seconds", () => {
    expect([0, 1, 2].map((attempt) => backoff(attempt, 0))).toEqual([250, 500, 1000]);
    expect(backoff(0, 0.999)).toBe(500);
    expect(backoff(1000, 0.999)).toBeLessThanOrEqual(30_000);
    expect(backoff(1000, 0)).toBe(15_000);
  });
});

describe("a problem", () => {
  it("is the server's own", async () => {
    const body = { type: "about:blank", code: "not_found", title: "Not found", detail: "no such id", status: 404 };
    const response = new Response(JSON.stringify(body), { status: 404 });
    expect(await readProblem(response)).toEqual({ code: "not_found", title: "Not found", detail: "no such id" });
  });

  it("is made from the status where a proxy answered", async () => {
    const response = new Response("<html>", { status: 502, statusText: "Bad Gateway" });
    expect(await readProblem(response)).toEqual({ code: "http_502", title: "Bad Gateway" });
  });
});

describe("unsent messages", () => {
  const command = (id: string): SendMessage => ({
    type: "message.send",
    id,
    conversation: "c1",
    kind: "text",
    text: "hi",
  });
  const memory = (): KeyValue & { readonly data: Map<string, string> } => {
    const data = new Map<string, string>();
    return {
      data,
      getItem: (key) => data.get(key) ?? null,
      setItem: (key, value) => void data.set(key, value),
      removeItem: (key) => void data.delete(key),
    };
  };

  it("survive a reload in their order, with their errors", () => {
    const storage = memory();
    const before = new Outbox(storage, "k");
    before.add(command("a"), "t1");
    before.add(command("b"), "t2");
    before.add(command("c"), "t3");
    before.remove("a");
    before.refuse("b", { code: "quota_exceeded", title: "Too many" });
    const after = new Outbox(storage, "k");
    expect(after.all.map(({ command: { id }, error }) => [id, error?.code])).toEqual([
      ["b", "quota_exceeded"],
      ["c", undefined],
    ]);
  });

  it("leave nothing behind when all are sent", () => {
    const storage = memory();
    const outbox = new Outbox(storage, "k");
    outbox.add(command("a"), "t1");
    outbox.remove("a");
    expect(storage.data.size).toBe(0);
  });

  it("still wait in memory when storage is full or holds rubbish", () => {
    const full: KeyValue = {
      getItem: () => "{rubbish",
      setItem: () => {
        throw new DOMException("full", "QuotaExceededError");
      },
      removeItem: () => undefined,
    };
    const outbox = new Outbox(full, "k");
    outbox.add(command("a"), "t1");
    expect(outbox.all).toHaveLength(1);
  });

  it("are bounded", () => {
    const outbox = new Outbox(memory(), "k");
    for (let i = 0; i < MOST_PENDING; i++) outbox.add(command(`a${i}`), "t");
    expect(outbox.isFull).toBe(true);
  });
});

describe("bytes from the wire", () => {
  it("are events when they have a place in the sequence", () => {
    const created = event(5, "message.created", message("m"));
    expect(readArrival(bytes(JSON.stringify(created)))).toEqual(created);
    const gap = { v: 1, type: "inbox.gap", data: { from: 1, to: 9 } };
    expect(readArrival(bytes(JSON.stringify(gap)))).toEqual(gap);
  });

  it("of any other form are dropped, and nothing else happens", () => {
    for (const text of [
      "",
      "{",
      "[]",
      "null",
      '{"type":"x"}',
      '{"type":"inbox.gap","data":{}}',
      '{"type":1,"seq":1}',
    ]) {
      expect(readArrival(bytes(text))).toBeUndefined();
    }
    expect(readArrival(new Uint8Array([0xff, 0x00, 0x80]))).toBeUndefined();
    expect(readSignal(bytes("7"))).toBeUndefined();
    expect(readPresence(bytes('{"online":"yes"}'))).toBeUndefined();
  });
});
