/**
 * Starts and stops `inboxd demo`, the whole product with its WhatsApp sandbox, on free loopback ports and a folder of its
 * own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** From start to the ready line and the sign-in link. Includes making a store and keys on a slow disk. */
const START_MS = 30_000;
/** The contract's shutdown is graceful; a server that hangs is a fault of its own. */
const STOP_MS = 15_000;
const ANY_PORT = "127.0.0.1:0";

export interface Demo {
  /** Opens the inbox signed in, e.g. `http://127.0.0.1:40001/#token=…`. */
  readonly url: string;
  readonly origin: string;
  readonly token: string;
  /** SIGTERM, then waits for the end. The data stays. */
  stop(): Promise<void>;
  /** A new process on the same data and the same HTTP port. */
  restart(): Promise<void>;
  /** Stops and removes the data. */
  remove(): Promise<void>;
}

export async function startDemo(): Promise<Demo> {
  const folder = await mkdtemp(join(tmpdir(), "inboxd-e2e-"));
  let running = await launch(folder, ANY_PORT);
  const { url } = running;
  const { origin, host, hash } = new URL(url);
  const stop = () => end(running.process);
  return {
    url,
    origin,
    token: hash.slice("#token=".length),
    stop,
    restart: async () => {
      running = await launch(folder, host);
    },
    remove: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function launch(folder: string, http: string): Promise<{ process: ChildProcess; url: string }> {
  const binary = process.env.INBOXD_BIN;
  if (!binary)
    throw new Error("set INBOXD_BIN to the inboxd binary, e.g. INBOXD_BIN=../target/release/inboxd npm run e2e");
  const child = spawn(binary, ["demo", "--data-dir", folder], {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: folder,
    env: {
      ...process.env,
      INBOXD_LISTEN__MQTT: ANY_PORT,
      INBOXD_LISTEN__HTTP: http,
      INBOXD_LISTEN__ADMIN: ANY_PORT,
    },
  });
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  try {
    return { process: child, url: await signInLink(child) };
  } catch (error) {
    await end(child);
    throw new Error(`${error instanceof Error ? error.message : error}\n${log}`);
  }
}

/** Reads standard output: the ready line first, as the contract says, then a line with the link. */
function signInLink(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new Error("no standard output");
    const late = setTimeout(() => reject(new Error(`no sign-in link within ${START_MS} ms`)), START_MS);
    const fail = (why: string) => {
      clearTimeout(late);
      reject(new Error(why));
    };
    child.once("error", (error) => fail(`cannot start: ${error.message}`));
    child.once("exit", (code, signal) => fail(`ended before it was ready: ${code ?? signal}`));
    let ready = false;
    createInterface(child.stdout).on("line", (line) => {
      if (!ready && !/^inboxd ready mqtt=\S+ .*http=\S+ admin=\S+/.test(line))
        fail(`first line is not the ready line: ${line}`);
      ready = true;
      const link = /https?:\/\/\S+\/#token=[\w-]+\.[\w-]+\.[\w-]+/.exec(line)?.[0];
      if (link === undefined) return;
      clearTimeout(late);
      resolve(link);
    });
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  const [code, signal] = await gone;
  clearTimeout(late);
  if (signal === "SIGKILL") throw new Error(`the server did not end within ${STOP_MS} ms of SIGTERM`);
  if (code !== 0 && code !== null) throw new Error(`the server ended with ${code}`);
}
