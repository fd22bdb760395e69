/**
 * A Chromium and the few questions the stories ask of the page. Each wait has a deadline; nothing sleeps.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
  type WebSocketRoute,
} from "playwright-core";

/** For one thing to appear. The sandbox's customers answer within a few seconds. */
export const SOON = { timeout: 20_000 };
export const DESKTOP: BrowserContextOptions = { viewport: { width: 1180, height: 760 }, deviceScaleFactor: 1.5 };
export const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 800 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
};

const RESULTS = join(import.meta.dirname, "../../../test-results");
const QUIET = ["gpu", "quic", "component-update", "background-networking", "sync"].map((part) => `--disable-${part}`);

/** Starts the browser at `INBOXD_CHROMIUM`, by default the one Debian installs. */
export function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.INBOXD_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--no-first-run", ...QUIET],
  });
}

/** A page in a browser profile of its own. `faults` collects what the page itself got wrong. */
export async function openPage(
  browser: Browser,
  url: string,
  options = DESKTOP,
): Promise<{ page: Page; faults: string[] }> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy/.test(message.text())) faults.push(message.text());
  });
  await page.addInitScript(recordStatuses);
  await page.goto(url);
  return { page, faults };
}

/** Cuts the page's MQTT connections and refuses new ones, while HTTP works, until `restore` is called. */
export async function cutter(page: Page): Promise<{ cut(): Promise<void>; restore(): void }> {
  let refused = false;
  const open = new Set<WebSocketRoute>();
  await page.context().routeWebSocket(/\/mqtt$/, (socket) => {
    if (refused) {
      void socket.close();
      return;
    }
    open.add(socket);
    socket.connectToServer();
  });
  return {
    cut: async () => {
      refused = true;
      for (const socket of open) await socket.close();
      open.clear();
    },
    restore: () => {
      refused = false;
    },
  };
}

export async function screenshot(page: Page, name: string): Promise<void> {
  await mkdir(RESULTS, { recursive: true });
  await page.screenshot({ path: join(RESULTS, `${name}.png`) });
}

export const live = (page: Page): Promise<void> =>
  page
    .locator(".connection-live")
    .first()
    .waitFor({ ...SOON, state: "attached" });
export const rows = (page: Page): Locator => page.locator("a.row");
export const incoming = (page: Page): Locator => page.locator(".message-in");
export const bubble = (page: Page, text: string): Locator => page.locator(".message-out", { hasText: text });
/** What a screen reader is told. Only messages that arrive live get there, none that were loaded. */
export const announced = (page: Page): Locator => page.locator("[aria-live=polite] span");

export async function write(page: Page, text: string): Promise<void> {
  await page.locator(".composer textarea").fill(text);
  await page.keyboard.press("Enter");
}

/** Waits until the own message `text` has one of these statuses. */
export async function reaches(page: Page, text: string, ...statuses: string[]): Promise<void> {
  const any = statuses.map((status) => `.message-out[data-status="${status}"]`).join(", ");
  await page.locator(any, { hasText: text }).waitFor(SOON);
}

/** Ids and statuses of all messages on the page, in their order. */
export function shown(page: Page): Promise<(string | undefined)[][]> {
  return page
    .locator("[data-message]")
    .evaluateAll((elements) => (elements as HTMLElement[]).map(({ dataset }) => [dataset.message, dataset.status]));
}

/** Every status that a message has shown, in order, by the id of its command. */
export function statusesOf(page: Page, command: string): Promise<string[]> {
  return page.evaluate((id) => (window as unknown as Recorded).statuses?.[id] ?? [], command);
}

interface Recorded {
  statuses?: Record<string, string[]>;
}

/** Runs in the page: a status that stands for a moment only is seen as well. */
function recordStatuses(): void {
  const statuses: Record<string, string[]> = {};
  (window as unknown as Recorded).statuses = statuses;
  const look = () => {
    for (const element of document.querySelectorAll<HTMLElement>("[data-command]")) {
      const { command, status } = element.dataset;
      if (command === undefined || status === undefined) continue;
      statuses[command] ??= [];
      const known = statuses[command];
      if (known.at(-1) !== status) known.push(status);
    }
  };
  new MutationObserver(look).observe(document, {
    subtree: true,
    childList: true,
    attributes: true,
    attributeFilter: ["data-status"],
  });
}
