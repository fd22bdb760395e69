/**
 * Reading a token's claims (contract, section 4), for display and to name topics only. The server decides what a token is
 * worth; nothing here verifies a signature.
 */

export interface Claims {
  readonly user: string;
  readonly account: string;
  readonly device?: string;
  readonly role?: string;
  /** Seconds since 1970. */
  readonly expires?: number;
}

/** The claims of `token`, or undefined when it is no JWT that names a user and an account. */
export function readClaims(token: string): Claims | undefined {
  const parts = token.split(".");
  const body = parts[1];
  if (parts.length !== 3 || body === undefined) return undefined;
  let claims: unknown;
  try {
    claims = JSON.parse(fromBase64Url(body));
  } catch {
    return undefined;
  }
  if (typeof claims !== "object" || claims === null) return undefined;
  const { sub, acc, dev, role, exp } = claims as Record<string, unknown>;
  if (typeof sub !== "string" || typeof acc !== "string") return undefined;
  return {
    user: sub,
    account: acc,
    ...(typeof dev === "string" && { device: dev }),
    ...(typeof role === "string" && { role }),
    ...(typeof exp === "number" && { expires: exp }),
  };
}

function fromBase64Url(text: string): string {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}
