/**
 * Times and texts as a person reads them, in the browser's language and time zone. Pure: the present moment, and in tests
 * the locale and zone, are arguments.
 */
import type { Contact, Conversation, Media, Message, MessageError } from "../client";

export interface Locale {
  /** BCP 47; undefined = the browser's. */
  readonly language?: string | undefined;
  /** IANA name; undefined = the browser's. */
  readonly timeZone?: string | undefined;
}

const DAY_MS = 24 * 3600 * 1000;
const HOUR_MS = 3600 * 1000;
const MINUTE_MS = 60 * 1000;

/** `14:05` (or `2:05 PM`). */
export function clockTime(at: string, { language, timeZone }: Locale = {}): string {
  return intl(language, { hour: "numeric", minute: "2-digit", timeZone }).format(new Date(at));
}

/** For the list: today the time, then "Yesterday", the weekday, the date. */
export function listTime(at: string, now: Date, locale: Locale = {}): string {
  const days = daysBetween(new Date(at), now, locale);
  if (days <= 0) return clockTime(at, locale);
  if (days === 1) return "Yesterday";
  const { language, timeZone } = locale;
  if (days < 7) return intl(language, { weekday: "long", timeZone }).format(new Date(at));
  return intl(language, { day: "numeric", month: "short", year: "numeric", timeZone }).format(new Date(at));
}

/** For the line between two days. */
export function dayLabel(at: string, now: Date, locale: Locale = {}): string {
  const days = daysBetween(new Date(at), now, locale);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  const { language, timeZone } = locale;
  const date = new Date(at);
  const sameYear = dayKey(at, locale).slice(0, 4) === dayKey(now.toISOString(), locale).slice(0, 4);
  return intl(language, {
    weekday: "long",
    day: "numeric",
    month: "long",
    ...(!sameYear && { year: "numeric" }),
    timeZone,
  }).format(date);
}

/** `2026-11-20` in the reader's zone: messages with the same key share a day. */
export function dayKey(at: string, { timeZone }: Locale = {}): string {
  // The Swedish locale writes dates the ISO way.
  return intl("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit", timeZone }).format(new Date(at));
}

/** Full date and time, for tooltips and screen readers. */
export function fullTime(at: string, { language, timeZone }: Locale = {}): string {
  return intl(language, { dateStyle: "full", timeStyle: "medium", timeZone }).format(new Date(at));
}

/** `3 hours`, `12 minutes`: the largest unit alone. */
export function duration(ms: number): string {
  const [size, unit] = ms >= DAY_MS ? [DAY_MS, "day"] : ms >= HOUR_MS ? [HOUR_MS, "hour"] : [MINUTE_MS, "minute"];
  const count = Math.max(1, Math.floor(ms / size));
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function daysBetween(then: Date, now: Date, locale: Locale): number {
  const midnight = (date: Date) => Date.parse(`${dayKey(date.toISOString(), locale)}T00:00:00Z`);
  return Math.round((midnight(now) - midnight(then)) / DAY_MS);
}

/** Making a formatter costs far more than using it, and a list draws hundreds of times. */
const formatters = new Map<string, Intl.DateTimeFormat>();

function intl(language: string | undefined, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${language}|${JSON.stringify(options)}`;
  let formatter = formatters.get(key);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat(language, options);
    formatters.set(key, formatter);
  }
  return formatter;
}

const KIND_NAMES: Readonly<Record<string, string>> = {
  image: "Photo",
  audio: "Voice message",
  video: "Video",
  document: "Document",
  sticker: "Sticker",
  location: "Location",
  contacts: "Contact card",
  interactive: "Interactive message",
  template: "Template",
  order: "Order",
};

/** What kind of thing a message is, where its text does not say it; undefined for text and system messages. */
export function kindName({ kind, media }: Pick<Message, "kind" | "media">): string | undefined {
  if (kind === "text" || kind === "system") return undefined;
  return media?.name ?? KIND_NAMES[kind] ?? "A kind of message this page cannot show";
}

/** One line for the list. */
export function preview(message: Message): string {
  return [kindName(message), message.text].filter(Boolean).join(" · ");
}

/** `240 kB`; empty when the size is not known. */
export function mediaSize({ size }: Media): string {
  if (size === undefined) return "";
  if (size < 1000) return `${size} B`;
  return size < 1_000_000 ? `${Math.round(size / 1000)} kB` : `${(size / 1_000_000).toFixed(1)} MB`;
}

export function initials(title: string): string {
  const words = title.split(/\s+/).filter((word) => /\p{L}|\p{N}/u.test(word));
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters
    .map((word) => /\p{L}|\p{N}/u.exec(word ?? "")?.[0] ?? "")
    .join("")
    .toUpperCase();
}

/** A hue between 0 and 359 that stays the same for one id. */
export function hue(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 3600;
  return hash % 360;
}

export function phoneLine(contact: Contact | undefined): string | undefined {
  const { phone, username } = contact ?? {};
  if (phone !== undefined) return phone.startsWith("+") ? phone : `+${phone}`;
  return username === undefined ? undefined : `@${username}`;
}

export type WindowState =
  | { readonly kind: "open" }
  | { readonly kind: "closing"; readonly leftMs: number }
  | { readonly kind: "closed"; readonly sinceMs: number };

/** From here on it is worth saying that the 24-hour window will close. */
const CLOSING_SOON_MS = 2 * HOUR_MS;

/** Whether WhatsApp still takes free text. Conversations without a known end are left to the server's judgement. */
export function windowState(conversation: Conversation, now: Date): WindowState {
  if (conversation.kind !== "whatsapp" || conversation.window_expires_at === undefined) return { kind: "open" };
  const leftMs = Date.parse(conversation.window_expires_at) - now.getTime();
  if (leftMs <= 0) return { kind: "closed", sinceMs: -leftMs };
  return leftMs < CLOSING_SOON_MS ? { kind: "closing", leftMs } : { kind: "open" };
}

/** What a person can do about a failed message, by WhatsApp's code or the server's. */
export function advice({ code, meta_code }: Pick<MessageError, "code" | "meta_code">): string {
  switch (meta_code) {
    case 131047:
      return "The 24-hour window is closed. Wait until the customer writes, or send a template.";
    case 131026:
      return "This number cannot be reached on WhatsApp. Check it, or use another way.";
    case 131021:
      return "Sender and recipient are the same number.";
    case 131049:
    case 131050:
      return "WhatsApp holds this message back for the recipient. Do not send it again today.";
    case 130429:
    case 131048:
    case 131056:
      return "Too many messages at once. Wait a few minutes and send it again.";
    case 131016:
    case 133004:
      return "WhatsApp is not available right now. Send it again later.";
    case 131042:
    case 131031:
    case 368:
      return "WhatsApp has restricted this business account. Tell your administrator.";
    default:
      break;
  }
  switch (code) {
    case "quota_exceeded":
      return "Too much at once. Wait a minute and send it again.";
    case "disk_full":
      return "The server has no room left. Tell your administrator; send it again later.";
    case "text_too_long":
      return "The text is longer than WhatsApp takes (4,096 characters). Send it in parts.";
    case "recipient_unreachable":
      return "The contact has neither a phone number nor a WhatsApp user id.";
    case "acl_denied":
    case "number_unknown":
      return "You may not write here. Ask your administrator.";
    case "command_unknown":
      return "This server cannot do that yet. Tell your administrator.";
    case "conversation_unknown":
      return "This conversation does not exist any more, or you are not a member. Choose another one.";
    default:
      return "Send it again. If it fails again, tell your administrator the code.";
  }
}
