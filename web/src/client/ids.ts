/**
 * Ids of commands (O1). The server keeps each id for days and gives a repeated one the effect of once (promise P4), so an
 * id is made when the user presses send and stays the same however often the command travels.
 *
 * Pure: the time and the random bytes are arguments.
 */

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_CHARACTERS = 10;
/** 80 random bits, as the ULID format has them. */
export const RANDOM_BYTES = 10;

/** A ULID: 26 characters that sort by `now` (milliseconds since 1970). `random` must hold 10 bytes. */
export function ulid(now: number, random: Uint8Array): string {
  if (random.length !== RANDOM_BYTES) throw new RangeError(`a ULID takes ${RANDOM_BYTES} random bytes`);
  let rest = Math.floor(now);
  let time = "";
  for (let i = 0; i < TIME_CHARACTERS; i++) {
    time = CROCKFORD.charAt(rest % 32) + time;
    rest = Math.floor(rest / 32);
  }
  let tail = "";
  let bits = 0;
  let held = 0;
  for (const byte of random) {
    bits = (bits << 8) | byte;
    held += 8;
    while (held >= 5) {
      held -= 5;
      tail += CROCKFORD.charAt((bits >> held) & 31);
    }
    bits &= (1 << held) - 1;
  }
  return time + tail;
}

/**
 * A fresh id. `getRandomValues` and not `randomUUID`, because the latter is missing on plain-HTTP pages other than
 * localhost.
 */
export function newId(): string {
  return ulid(Date.now(), crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)));
}
