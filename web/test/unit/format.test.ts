/**
 * Times and texts as a person reads them.
 */
import { describe, expect, it } from "vitest";
import {
  advice,
  clockTime,
  dayKey,
  dayLabel,
  duration,
  initials,
  kindName,
  listTime,
  mediaSize,
  phoneLine,
  preview,
  windowState,
} from "../../src/ui/format";
import { conversation, message } from "./build";

const madrid = { language: "en-GB", timeZone: "Europe/Madrid" };
const newYork = { language: "en-GB", timeZone: "America/New_York" };
const now = new Date("2026-11-20T12:00:00.000Z");

describe("times", () => {
  it("are told in the reader's zone", () => {
    expect(clockTime("2026-11-20T20:11:05.123Z", madrid)).toBe("21:11");
    expect(clockTime("2026-11-20T20:11:05.123Z", newYork)).toBe("15:11");
  });

  it("have the reader's days, not UTC's", () => {
    expect(dayKey("2026-11-19T23:30:00.000Z", madrid)).toBe("2026-11-20");
    expect(dayKey("2026-11-20T02:00:00.000Z", newYork)).toBe("2026-11-19");
    expect(dayLabel("2026-11-19T23:30:00.000Z", now, madrid)).toBe("Today");
    expect(dayLabel("2026-11-19T22:30:00.000Z", now, madrid)).toBe("Yesterday");
  });

  it("in the list grow coarser with age", () => {
    expect(listTime("2026-11-20T09:05:00.000Z", now, madrid)).toBe("10:05");
    expect(listTime("2026-11-19T09:05:00.000Z", now, madrid)).toBe("Yesterday");
    expect(listTime("2026-11-16T09:05:00.000Z", now, madrid)).toBe("Monday");
    expect(listTime("2026-10-01T09:05:00.000Z", now, madrid)).toBe("1 Oct 2026");
  });

  it("of a clock that runs ahead are today's", () => {
    expect(listTime("2026-11-21T09:05:00.000Z", now, madrid)).toBe("10:05");
  });

  it("name the year on day lines only when it is another one", () => {
    expect(dayLabel("2026-11-10T12:00:00.000Z", now, madrid)).toMatch(/^Tuesday,? 10 November$/);
    expect(dayLabel("2025-11-10T12:00:00.000Z", now, madrid)).toMatch(/^Monday,? 10 November 2025$/);
  });

  it("count days across a change of the clocks", () => {
    const after = new Date("2026-10-26T00:30:00.000Z");
    expect(dayLabel("2026-10-25T00:30:00.000Z", after, madrid)).toBe("Yesterday");
  });
});

describe("durations", () => {
  it.each([
    [30_000, "1 minute"],
    [40 * 60_000, "40 minutes"],
    [3_600_000, "1 hour"],
    [50 * 3_600_000, "2 days"],
  ])("%d ms is %s", (ms, text) => expect(duration(ms)).toBe(text));
});

describe("messages that are not text", () => {
  it("are told by kind, name and caption, never by payload", () => {
    const location = message("m", { kind: "location", payload: { latitude: 40.4 } });
    const { text: _, ...wordless } = location;
    expect(preview(wordless)).toBe("Location");
    const media = { state: "ready", mime: "application/pdf", name: "offer.pdf", size: 240_400 } as const;
    expect(preview(message("m", { kind: "document", media, text: "as agreed" }))).toBe("offer.pdf · as agreed");
    expect(mediaSize(media)).toBe("240 kB");
  });

  it("of a kind that nobody knows say so", () => {
    expect(kindName({ kind: "hologram" as "text" })).toContain("cannot show");
    expect(kindName({ kind: "text" })).toBeUndefined();
  });
});

describe("the 24-hour window", () => {
  const ends = (at: string) => windowState(conversation("c", { window_expires_at: at }), now).kind;

  it("is open, closing or closed", () => {
    expect(ends("2026-11-21T10:00:00.000Z")).toBe("open");
    expect(ends("2026-11-20T12:40:00.000Z")).toBe("closing");
    expect(ends("2026-11-20T12:00:00.000Z")).toBe("closed");
  });

  it("is no matter between users, or where its end is not known", () => {
    const direct = conversation("c", { kind: "direct", window_expires_at: "2026-11-19T00:00:00.000Z" });
    expect(windowState(direct, now).kind).toBe("open");
    expect(windowState(conversation("c"), now).kind).toBe("open");
  });
});

describe("small things", () => {
  it("initials take the first and the last word, whatever the script", () => {
    expect(initials("Ana María López")).toBe("AL");
    expect(initials("Østergård")).toBe("Ø");
    expect(initials("+34 600 11")).toBe("31");
    expect(initials("🎈 🎉")).toBe("");
  });

  it("a phone gets its plus, a name its at", () => {
    expect(phoneLine({ id: "p", name: "Ana", phone: "15550000002" })).toBe("+15550000002");
    expect(phoneLine({ id: "p", name: "Ana", username: "ana" })).toBe("@ana");
    expect(phoneLine(undefined)).toBeUndefined();
  });

  it("advice follows WhatsApp's code first", () => {
    expect(advice({ code: "meta_error", meta_code: 131047 })).toContain("24-hour window");
    expect(advice({ code: "command_unknown" })).toContain("cannot do that yet");
    expect(advice({ code: "anything" })).toContain("Send it again");
  });
});
