/**
 * What an agent sees when something is wrong: no token, a bad one, a server that is away (P1, P3, P4 from the page's side).
 */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  bubble,
  cutter,
  incoming,
  live,
  openPage,
  reaches,
  rows,
  SOON,
  screenshot,
  startBrowser,
  write,
} from "./support/browser";
import { type Demo, startDemo } from "./support/inboxd";

describe("trouble", () => {
  let demo: Demo;
  let browser: Browser;

  beforeAll(async () => {
    demo = await startDemo();
    browser = await startBrowser();
  });

  afterAll(async () => {
    await browser?.close();
    await demo?.remove();
  });

  it("without a token there is a form, which takes one", async () => {
    const { page } = await openPage(browser, demo.origin);
    await page.locator("#token").waitFor(SOON);
    await screenshot(page, "sign-in");
    await page.locator("#token").fill("no token at all");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor(SOON);
    await page.locator("#token").fill(demo.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await live(page);
    await page.context().close();
  });

  it("with a token that does not verify it says so and takes a better one", async () => {
    const [head, body] = demo.token.split(".");
    const forged = `${head}.${body}.${"A".repeat(86)}`;
    const { page } = await openPage(browser, `${demo.origin}/#token=${forged}`);
    await page.getByRole("alert").waitFor(SOON);
    await screenshot(page, "refused-token");
    await page.locator("#token").fill(demo.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await live(page);
    await page.context().close();
  });

  it("a message written while the server is away waits, and goes out once when it is back", async () => {
    const text = "Written while the server was away.";
    const { page } = await openPage(browser, demo.url);
    await rows(page).first().click();
    await incoming(page).first().waitFor(SOON);
    await demo.stop();
    await page.locator(".bar-warning").waitFor(SOON);
    await write(page, text);
    await reaches(page, text, "sending");
    await screenshot(page, "offline");
    await demo.restart();
    await live(page);
    await reaches(page, text, "sent", "delivered", "read");
    await page.reload();
    await reaches(page, text, "sent", "delivered", "read");
    expect(await bubble(page, text).count()).toBe(1);
    await page.context().close();
  });

  it("without MQTT the inbox can still be read, and an unsent message survives a reload of the page", async () => {
    const text = "Written without a connection.";
    const { page } = await openPage(browser, "about:blank");
    const connection = await cutter(page);
    await page.goto(demo.url);
    await live(page);
    await rows(page).first().click();
    await incoming(page).first().waitFor(SOON);
    await connection.cut();
    await page.locator(".bar-warning").waitFor(SOON);
    await write(page, text);
    await reaches(page, text, "sending");
    await page.reload();
    await incoming(page).first().waitFor(SOON);
    await reaches(page, text, "sending");
    connection.restore();
    await reaches(page, text, "sent", "delivered", "read");
    expect(await bubble(page, text).count()).toBe(1);
    await page.context().close();
  });
});
