/**
 * A round stand-in for a face: initials on a colour that stays with the id.
 */
import type { JSX } from "preact";
import { hue, initials } from "./format";

export function Avatar({ id, name, small = false }: { id: string; name: string; small?: boolean }): JSX.Element {
  return (
    <span class={small ? "avatar small" : "avatar"} style={{ "--hue": String(hue(id)) }} aria-hidden="true">
      {initials(name) || "?"}
    </span>
  );
}
