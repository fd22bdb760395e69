/**
 * Who is signed in: the token's way from the address bar into this tab's storage, and the id of this browser (S1).
 *
 * A token lives in `sessionStorage`: it ends with the tab and is never part of an address that is shared or logged. The
 * client id lives in `localStorage`, because the server keeps this browser's place in the inbox under it.
 */
import { type Claims, newId, readClaims } from "../client";

const TOKEN_KEY = "inboxd.token";
const CLIENT_KEY = "inboxd.client";

export interface Session {
  readonly token: string;
  readonly claims: Claims;
  readonly clientId: string;
}

/** A token in the fragment (`#token=…`), if any. */
export function tokenInFragment(hash: string): string | undefined {
  const token = new URLSearchParams(hash.replace(/^#/, "")).get("token");
  return token === null || token === "" ? undefined : token;
}

/** Moves a token from the address bar into the tab's storage, so that no copied address carries it. */
export function takeTokenFromAddress(): void {
  const token = tokenInFragment(location.hash);
  if (token === undefined) return;
  sessionStorage.setItem(TOKEN_KEY, token);
  history.replaceState(null, "", location.pathname + location.search);
}

export function currentSession(): Session | undefined {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const claims = token === null ? undefined : readClaims(token);
  if (token === null || claims === undefined) return undefined;
  return { token, claims, clientId: claims.device ?? browserId(claims) };
}

/** Why `text` cannot be a token, for the sign-in form; undefined when it may be one. The server has the last word. */
export function complaintAbout(text: string, now: Date): string | undefined {
  const claims = readClaims(text);
  if (claims === undefined) return "This is not an inboxd token. A token has three parts with dots between them.";
  if (claims.expires !== undefined && claims.expires * 1000 <= now.getTime()) {
    return "This token has expired. Ask for a new one.";
  }
  return undefined;
}

export function signIn(token: string): void {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function signOut(): void {
  sessionStorage.removeItem(TOKEN_KEY);
}

/** One id per user and browser. Another tab of the same user takes the session over and says so. */
function browserId({ account, user }: Claims): string {
  const key = `${CLIENT_KEY}/${account}/${user}`;
  const known = localStorage.getItem(key);
  if (known !== null) return known;
  const fresh = `web-${newId()}`;
  localStorage.setItem(key, fresh);
  return fresh;
}
