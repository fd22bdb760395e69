/**
 * The main flow as an agent sees it: a customer writes (I1-I7), the agent answers (O1), the marks rise (O10), the customer
 * answers; a reload and a second browser show the same (S1-S4).
 */
import { isDeepStrictEqual } from "node:util";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  announced,
  bubble,
  DESKTOP,
  incoming,
  live,
  openPage,
  PHONE,
  reaches,
  rows,
  SOON,
  screenshot,
  shown,
  startBrowser,
  statusesOf,
  write,
} from "./support/browser";
import { type Demo, startDemo } from "./support/inboxd";

const ANSWER = "Good morning, I am looking into it right now.";
const LADDER = ["sending", "sent", "delivered", "read"];

describe("an agent's inbox", () => {
  let demo: Demo;
  let browser: Browser;
  let page: Page;
  let faults: string[];

  beforeAll(async () => {
    demo = await startDemo();
    browser = await startBrowser();
    ({ page, faults } = await openPage(browser, demo.url));
  });

  afterAll(async () => {
    await browser?.close();
    await demo?.remove();
  });

  it("opens signed in, and the address no longer carries the token", async () => {
    await live(page);
    expect(page.url()).toBe(`${demo.origin}/`);
    expect(await page.locator(".sign-in").count()).toBe(0);
  });

  it("shows a customer's message as it arrives", async () => {
    await announced(page)
      .first()
      .waitFor({ ...SOON, state: "attached" });
    await rows(page).first().waitFor(SOON);
    await screenshot(page, "list-desktop-light");
  });

  it("takes an answer, and its marks rise: sent, delivered, read", async () => {
    await rows(page).first().click();
    await incoming(page).first().waitFor(SOON);
    await write(page, ANSWER);
    await reaches(page, ANSWER, "read");
    const command = (await bubble(page, ANSWER).getAttribute("data-command")) ?? "";
    const seen = await statusesOf(page, command);
    // A busy machine may draw two steps at once, so one may be missing; none may come out of order or twice.
    expect(seen).toEqual(LADDER.filter((status) => seen.includes(status)));
    expect([seen[0], seen.at(-1)]).toEqual(["sending", "read"]);
  });

  it("shows the customer's answer", async () => {
    const answer = page.locator(".line", { has: bubble(page, ANSWER) }).locator("~ .line .message-in");
    await answer.first().waitFor(SOON);
    await screenshot(page, "conversation-desktop-light");
  });

  it("shows the same after a reload", async () => {
    const address = page.url();
    await page.reload();
    await live(page);
    await bubble(page, ANSWER).waitFor(SOON);
    expect(page.url()).toBe(address);
    expect(await bubble(page, ANSWER).count()).toBe(1);
    await reaches(page, ANSWER, "read");
  });

  it("shows the same in a second browser, and what one sends the other shows", async () => {
    const conversation = new URL(page.url()).hash;
    const second = await openPage(browser, demo.url, { ...DESKTOP, colorScheme: "dark" });
    await live(second.page);
    await second.page.goto(`${demo.origin}/${conversation}`);
    await bubble(second.page, ANSWER).waitFor(SOON);
    const fromSecond = "This comes from my other screen.";
    await write(second.page, fromSecond);
    await reaches(second.page, fromSecond, "read");
    await reaches(page, fromSecond, "read");
    // Both anew each time: the customer may write on in between.
    const same = async () => isDeepStrictEqual(await shown(page), await shown(second.page));
    await expect.poll(same, SOON).toBe(true);
    await screenshot(second.page, "conversation-desktop-dark");
    expect(second.faults).toEqual([]);
    await second.page.context().close();
  });

  it("works on a phone: list, conversation, back", async () => {
    for (const colorScheme of ["light", "dark"] as const) {
      const phone = await openPage(browser, demo.url, { ...PHONE, colorScheme });
      await rows(phone.page).first().waitFor(SOON);
      await screenshot(phone.page, `list-phone-${colorScheme}`);
      await rows(phone.page).first().tap();
      await incoming(phone.page).first().waitFor(SOON);
      expect(await rows(phone.page).first().isVisible()).toBe(false);
      await screenshot(phone.page, `conversation-phone-${colorScheme}`);
      await phone.page.goBack();
      await rows(phone.page).first().waitFor(SOON);
      expect(phone.faults).toEqual([]);
      await phone.page.context().close();
    }
  });

  it("is walked and opened by keyboard alone", async () => {
    await page.keyboard.press("Escape");
    await page.locator(".conversation").waitFor({ ...SOON, state: "detached" });
    await rows(page).first().focus();
    await page.keyboard.press("End");
    await page.keyboard.press("Home");
    await page.keyboard.press("Enter");
    await page.locator(".composer textarea:focus").waitFor(SOON);
  });

  it("made no error of its own", () => {
    expect(faults).toEqual([]);
  });
});
