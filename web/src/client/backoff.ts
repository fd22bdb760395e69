/**
 * How long to wait before trying again. Pure: chance is an argument.
 */

const FIRST_MS = 500;
/** A page that somebody looks at should not be dead for longer than this once the server is back. */
const LONGEST_MS = 30_000;

/**
 * Milliseconds before attempt number `attempt` (0 = the first repetition). Doubles up to 30 s; `chance` in [0, 1) spreads
 * clients over the upper half, so that a server that restarts is not met by all of them in one instant.
 */
export function backoff(attempt: number, chance: number): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling / 2 + (ceiling / 2) * chance);
}
