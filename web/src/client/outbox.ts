/**
 * Messages on their way to the server (O1): kept from the moment the user presses send until the server has acknowledged
 * them, across broken connections and reloads of the page. Sending one again is safe, because it keeps its command id.
 *
 * A message the server refused for good stays, with its error, until the user discards it or tries again.
 * Not here: the sending (`inbox.ts`).
 */
import type { Problem } from "./http";
import type { SendMessage } from "./types";

/** Beyond it, sending says no: somebody who is offline for hours should learn it, and browser storage is small. */
export const MOST_PENDING = 200;

export interface Pending {
  readonly command: SendMessage;
  readonly queuedAt: string;
  /** Present once the server refused it for good. */
  readonly error?: Problem;
}

/** What of `Storage` is needed; tests bring their own. */
export interface KeyValue {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export class Outbox {
  #pending: readonly Pending[];

  constructor(
    private readonly storage: KeyValue,
    private readonly key: string,
  ) {
    this.#pending = load(storage, key);
  }

  /** In the order they were written. */
  get all(): readonly Pending[] {
    return this.#pending;
  }

  get isFull(): boolean {
    return this.#pending.length >= MOST_PENDING;
  }

  add(command: SendMessage, queuedAt: string): Pending {
    const pending = { command, queuedAt };
    this.#save([...this.#pending, pending]);
    return pending;
  }

  /** The server has it, or the user no longer wants it. */
  remove(id: string): void {
    this.#save(this.#pending.filter(({ command }) => command.id !== id));
  }

  refuse(id: string, error: Problem): void {
    this.#save(this.#pending.map((pending) => (pending.command.id === id ? { ...pending, error } : pending)));
  }

  #save(pending: readonly Pending[]): void {
    this.#pending = pending;
    try {
      if (pending.length === 0) this.storage.removeItem(this.key);
      else this.storage.setItem(this.key, JSON.stringify(pending));
    } catch {
      // Storage is full or forbidden: the message is still sent, but would not survive a reload while offline.
    }
  }
}

function load(storage: KeyValue, key: string): readonly Pending[] {
  try {
    const value: unknown = JSON.parse(storage.getItem(key) ?? "[]");
    return Array.isArray(value) ? value.filter(isPending) : [];
  } catch {
    return [];
  }
}

function isPending(value: unknown): value is Pending {
  const command = (value as Partial<Pending> | null)?.command;
  return typeof command?.id === "string" && typeof command.conversation === "string";
}
