/**
 * How the page is built and developed. `vite build` writes `dist/`, which the server embeds and serves at `/`;
 * `vite` serves the sources and passes `/v1` and `/mqtt` on to a running inboxd.
 *
 * Not here: the browser tests (`vitest.e2e.config.ts`).
 */
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** The running server that `npm run dev` talks to. */
const backend = process.env.INBOXD_URL ?? "http://127.0.0.1:8080";

/**
 * Nothing but what this origin serves may run, be shown or be called: a message that smuggles markup in finds no way
 * out. Workers come from blobs because MQTT.js keeps its keepalive there, where a hidden tab does not slow it down.
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "worker-src 'self' blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** Only the built page carries the policy: the development server needs inline styles and scripts of its own. */
const withContentSecurityPolicy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    {
      tag: "meta",
      attrs: { "http-equiv": "Content-Security-Policy", content: contentSecurityPolicy },
      injectTo: "head-prepend",
    },
  ],
};

export default defineConfig({
  plugins: [withContentSecurityPolicy],
  build: { target: "es2022", modulePreload: { polyfill: false } },
  server: {
    proxy: {
      "/v1": backend,
      "/mqtt": { target: backend, ws: true },
    },
  },
  test: { include: ["test/unit/**/*.test.ts"], environment: "node" },
});
