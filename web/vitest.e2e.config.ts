/**
 * The browser tests (`npm run e2e`): a real Chromium against the real binary, named by `INBOXD_BIN`.
 *
 * One file after the other, because each starts a server and a browser; no retries, because a test that fails now and then
 * has found something.
 */
import { defineConfig } from "vitest/config";

/** A whole story takes a few seconds; each wait inside has its own, shorter deadline with its own message. */
const STORY_MS = 120_000;

export default defineConfig({
  test: {
    include: ["test/e2e/**/*.e2e.ts"],
    environment: "node",
    fileParallelism: false,
    retry: 0,
    testTimeout: STORY_MS,
    hookTimeout: STORY_MS,
  },
});
