/**
 * One MQTT 5 session over WebSocket, kept alive: connect, notice the end, wait, connect again (S1, I7, O1).
 *
 * The server keeps the session (its inbox cursor) between connections; this side keeps nothing but the client id. A fresh
 * MQTT.js client is made for each connection, and its own reconnecting and queueing are off: what must survive a broken
 * connection lies in `outbox.ts`, where a reload of the page finds it too, and each end is read with its close code.
 * Not here: topics' meaning (`inbox.ts`), what an end means (`ending.ts`).
 */
import mqtt, { type IConnackPacket, type IDisconnectPacket, type MqttClient, type Packet } from "mqtt";
import { backoff } from "./backoff";
import { type BreakCause, readEnding, type StopCause, type Witness } from "./ending";
import type { Problem } from "./http";

/** How long the server keeps this browser's cursor after the last connection: a holiday week. */
const SESSION_EXPIRY_S = 7 * 24 * 3600;
/** The server closes after 1.5 times this without a packet; so a dead network shows within a minute and a half. */
const KEEPALIVE_S = 60;
const CONNECT_TIMEOUT_MS = 15_000;
/** Inbox messages in flight towards the page. They are handled at once; this bounds what a burst can queue up here. */
const RECEIVE_MAXIMUM = 256;
/** A connection that held this long was a good one: the next wait starts small again. */
const SETTLED_AFTER_MS = 10_000;

export type ConnectionState =
  | { readonly phase: "connecting"; readonly attempt: number }
  | { readonly phase: "live" }
  /** `retryAt` in milliseconds since 1970. */
  | { readonly phase: "offline"; readonly cause: BreakCause; readonly retryAt: number }
  | { readonly phase: "stopped"; readonly cause: StopCause };

export type Published =
  | { readonly outcome: "accepted" }
  /** Refused for good: PUBACK with a reason code of 0x80 and more. */
  | { readonly outcome: "refused"; readonly problem: Problem }
  /** The connection ended first; whether the server has it is open. */
  | { readonly outcome: "open" };

export interface ConnectionOptions {
  /** `ws://…/mqtt` or `wss://…/mqtt`. */
  readonly url: string;
  readonly token: string;
  /** Not evaluated by the server; MQTT.js sends no password without one. */
  readonly userName: string;
  readonly clientId: string;
  readonly onState: (state: ConnectionState) => void;
  /** The connection stands: subscribe, send. `window` = how many publishes the server takes unacknowledged. */
  readonly onUp: (window: number) => void;
  /** Returns before the message is acknowledged, which moves the server's cursor: what must not be lost is taken here. */
  readonly onMessage: (topic: string, payload: Uint8Array) => void;
}

export class Connection {
  #client: MqttClient | undefined;
  /** Publishes without a PUBACK. MQTT.js may leave their callbacks unanswered when the connection ends; we do not. */
  readonly #unanswered = new Set<(published: Published) => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #state: ConnectionState = { phase: "connecting", attempt: 0 };

  constructor(private readonly options: ConnectionOptions) {}

  get state(): ConnectionState {
    return this.#state;
  }

  start(): void {
    this.#connect();
  }

  /** Ends the connection for good, e.g. at sign-out or when an HTTP answer shows that the token has ended. */
  stop(cause: StopCause): void {
    clearTimeout(this.#timer);
    this.#release();
    this.#become({ phase: "stopped", cause });
  }

  /** Shortens the wait: the browser says that the network is back, or the user asks. */
  retryNow(): void {
    if (this.#state.phase !== "offline") return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Rejects where the server refuses; `from` = the cursor's start, for a subscription that is new to the server. */
  async subscribe(topic: string, qos: 0 | 1, from?: Record<string, string>): Promise<void> {
    const properties = from ? { properties: { userProperties: from } } : {};
    await this.#client?.subscribeAsync(topic, { qos, ...properties });
  }

  unsubscribe(topic: string): void {
    this.#client?.unsubscribe(topic);
  }

  publish(topic: string, body: unknown, qos: 0 | 1): Promise<Published> {
    const client = this.#client;
    if (client === undefined || !client.connected) return Promise.resolve({ outcome: "open" });
    return new Promise((resolve) => {
      this.#unanswered.add(resolve);
      const options = { qos, properties: { contentType: "application/json" } };
      client.publish(topic, JSON.stringify(body), options, (error, packet) => {
        this.#unanswered.delete(resolve);
        resolve(error ? readRefusal(error, packet) : { outcome: "accepted" });
      });
    });
  }

  #connect(): void {
    const { url, token, userName, clientId } = this.options;
    this.#become({ phase: "connecting", attempt: this.#attempt });
    const witness: { -readonly [Key in keyof Witness]: Witness[Key] } = {};
    let upSince: number | undefined;
    let ended = false;

    const end = () => {
      if (ended || this.#client !== client) return;
      ended = true;
      if (upSince !== undefined && Date.now() - upSince > SETTLED_AFTER_MS) this.#attempt = 0;
      this.#ended(witness);
    };

    const client: MqttClient = mqtt.connect(url, {
      protocolVersion: 5,
      clientId,
      username: userName,
      password: token,
      clean: false,
      keepalive: KEEPALIVE_S,
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      properties: { sessionExpiryInterval: SESSION_EXPIRY_S, receiveMaximum: RECEIVE_MAXIMUM },
      createWebsocket: (address: string, protocols: string[]) => {
        const socket = new WebSocket(address, protocols);
        // Registered before MQTT.js adds its own, so the code is known when the client reports its end.
        socket.addEventListener("close", (event) => {
          witness.closeCode = event.code;
        });
        return socket;
      },
    });
    this.#client = client;
    client.on("connect", (connack: IConnackPacket) => {
      upSince = Date.now();
      this.#become({ phase: "live" });
      this.options.onUp(connack.properties?.receiveMaximum ?? 0xffff);
    });
    client.on("message", (topic, payload) => this.options.onMessage(topic, payload));
    client.on("disconnect", (packet: IDisconnectPacket) => {
      note(witness, packet.reasonCode, packet.properties?.reasonString);
    });
    client.on("error", (error) => {
      // A refused CONNACK comes this way; so does a failed socket, which has no reason code.
      note(witness, "code" in error && typeof error.code === "number" ? error.code : undefined, undefined);
      end();
    });
    client.on("close", end);
  }

  #ended(witness: Witness): void {
    this.#release();
    const ending = readEnding(witness);
    if (ending.kind === "stop") {
      this.#become({ phase: "stopped", cause: ending.cause });
      return;
    }
    const wait = backoff(this.#attempt++, Math.random());
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#become({ phase: "offline", cause: ending.cause, retryAt: Date.now() + wait });
  }

  #release(): void {
    this.#client?.end(true);
    this.#client = undefined;
    for (const resolve of this.#unanswered) resolve({ outcome: "open" });
    this.#unanswered.clear();
  }

  #become(state: ConnectionState): void {
    this.#state = state;
    this.options.onState(state);
  }
}

function note(
  witness: { -readonly [Key in keyof Witness]: Witness[Key] },
  reasonCode: number | undefined,
  reasonString: string | undefined,
): void {
  if (reasonCode !== undefined) witness.reasonCode = reasonCode;
  if (reasonString !== undefined) witness.reasonString = reasonString;
}

function readRefusal(error: Error, packet: Packet | undefined): Published {
  const reason = "code" in error && typeof error.code === "number" ? error.code : 0;
  if (reason < 0x80) return { outcome: "open" };
  const reasonString = packet?.cmd === "puback" ? packet.properties?.reasonString : undefined;
  const code = reasonString ?? `mqtt_0x${reason.toString(16)}`;
  return { outcome: "refused", problem: { code, title: "The server refused this message" } };
}
