/**
 * The HTTP half of the client: snapshot, catching up and history (S1-S4; contract, section 6).
 *
 * Every failure is an `ApiError` with a stable `code`: the server's own from its problem+json, or one of `network` and
 * `http_<status>` where there is none. Not here: when to ask for what (`inbox.ts`), and retries.
 */
import type { Contact, Conversation, Message, Page, Position, Presence, Snapshot, SyncAnswer } from "./types";

/** A request that has no answer by then is given up: a dead network must not hold a page in "loading" for ever. */
const TIMEOUT_MS = 20_000;
/** The most that `GET /v1/sync` gives at once. */
const SYNC_LIMIT = 1000;
/**
 * No epoch has this name, so the server answers with a reset: the one answer in which conversations, `epoch` and `head`
 * belong together.
 */
const FOREIGN_EPOCH = "none";

/** RFC 9457, as far as a person is told about it. */
export interface Problem {
  readonly code: string;
  readonly title: string;
  readonly detail?: string;
}

export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly problem: Problem,
    /** HTTP status; 0 when there was no answer. */
    readonly status: number,
  ) {
    super(`${problem.code}: ${problem.title}`);
  }

  /** Whether the same request may succeed later without anybody changing anything. */
  get isRetryable(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export interface User extends Presence {
  readonly id: string;
}

export class HttpApi {
  constructor(
    private readonly origin: string,
    private readonly token: string,
  ) {}

  /** The newest 200 conversations and where the inbox stands, in one consistent answer. */
  async snapshot(): Promise<Snapshot> {
    const answer = await this.#get<SyncAnswer>("/v1/sync", { after: "0", epoch: FOREIGN_EPOCH });
    if (answer.reset) return answer;
    throw new ApiError({ code: "no_snapshot", title: "the server gave events where a snapshot was due" }, 200);
  }

  /** What came after `position`, oldest first; a snapshot where that position is gone. */
  sync(position: Position): Promise<SyncAnswer> {
    return this.#get("/v1/sync", {
      after: String(position.seq),
      epoch: position.epoch,
      limit: String(SYNC_LIMIT),
    });
  }

  /** Newest activity first. */
  conversations(cursor?: string): Promise<Page<Conversation>> {
    return this.#get("/v1/conversations", cursor === undefined ? {} : { cursor });
  }

  conversation(id: string): Promise<Conversation> {
    return this.#get(`/v1/conversations/${encodeURIComponent(id)}`);
  }

  /** Newest first; with `before`, those older than that message. */
  messages(conversation: string, before?: string): Promise<Page<Message>> {
    const path = `/v1/conversations/${encodeURIComponent(conversation)}/messages`;
    return this.#get(path, before === undefined ? {} : { before });
  }

  contact(id: string): Promise<Contact> {
    return this.#get(`/v1/contacts/${encodeURIComponent(id)}`);
  }

  users(): Promise<Page<User>> {
    return this.#get("/v1/users");
  }

  async #get<Answer>(path: string, query: Record<string, string> = {}): Promise<Answer> {
    const url = new URL(path, this.origin);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    let response: Response;
    try {
      response = await fetch(url, {
        headers: { authorization: `Bearer ${this.token}`, accept: "application/json" },
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      throw new ApiError({ code: "network", title: "The server did not answer" }, 0);
    }
    if (!response.ok) throw new ApiError(await readProblem(response), response.status);
    try {
      return (await response.json()) as Answer;
    } catch {
      // Cut off in the middle, or a proxy's page in place of ours: as good as no answer.
      throw new ApiError({ code: "network", title: "The server's answer could not be read" }, 0);
    }
  }
}

/** The problem a refusal carries; a plain one where a proxy answered in the server's place. */
export async function readProblem(response: Response): Promise<Problem> {
  const plain: Problem = {
    code: `http_${response.status}`,
    title: response.statusText || `The server answered ${response.status}`,
  };
  let body: unknown;
  try {
    body = await response.json();
  } catch {
    return plain;
  }
  if (typeof body !== "object" || body === null) return plain;
  const { code, title, detail } = body as Record<string, unknown>;
  return {
    code: typeof code === "string" ? code : plain.code,
    title: typeof title === "string" ? title : plain.title,
    ...(typeof detail === "string" && { detail }),
  };
}
