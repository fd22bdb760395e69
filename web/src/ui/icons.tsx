/**
 * The few drawings of the page. All are decoration: what they mean stands beside them as text, visible or for screen readers.
 */
import type { JSX } from "preact";

interface IconProps {
  readonly paths: readonly string[];
  readonly class?: string;
  readonly width?: number;
}

function Icon({ paths, class: name = "", width = 16 }: IconProps): JSX.Element {
  return (
    <svg class={`icon ${name}`} viewBox={`0 0 ${width} 16`} width={width} height={16} aria-hidden="true">
      {paths.map((path) => (
        <path key={path} d={path} />
      ))}
    </svg>
  );
}

export const ClockIcon = () => (
  <Icon paths={["M8 2.75a5.25 5.25 0 1 0 0 10.5 5.25 5.25 0 0 0 0-10.5Z", "M8 5.25V8l1.75 1.25"]} />
);
export const CheckIcon = () => <Icon paths={["m3 8.5 3 3 6.5-7"]} />;
export const ChecksIcon = () => <Icon width={20} paths={["m1.75 8.5 3 3 6.25-7", "m8.75 10.5 1 1 6.25-7"]} />;
export const FailedIcon = () => (
  <Icon paths={["M8 2.25a5.75 5.75 0 1 0 0 11.5 5.75 5.75 0 0 0 0-11.5Z", "M8 5.25v3.5", "M8 10.9v.1"]} />
);
export const UnknownIcon = () => <Icon paths={["M6 6.1a2.05 2.05 0 1 1 2.9 1.9c-.6.3-.9.7-.9 1.3", "M8 11.7v.1"]} />;
export const BackIcon = () => <Icon paths={["M10 3 5 8l5 5"]} />;
export const DownIcon = () => <Icon paths={["M3.5 6 8 10.5 12.5 6"]} />;
export const SendIcon = () => <Icon paths={["M8 13V3.25", "M3.75 7.5 8 3.25l4.25 4.25"]} />;
export const CloseIcon = () => <Icon paths={["m4 4 8 8", "m12 4-8 8"]} />;

const KINDS: Readonly<Record<string, readonly string[]>> = {
  image: ["M2.5 4.75h2.75l1-1.5h3.5l1 1.5h2.75v8h-11Z", "M8 6.5a2.1 2.1 0 1 0 0 4.2 2.1 2.1 0 0 0 0-4.2Z"],
  audio: [
    "M8 2.25a1.75 1.75 0 0 0-1.75 1.75v3.5a1.75 1.75 0 0 0 3.5 0V4A1.75 1.75 0 0 0 8 2.25Z",
    "M4 7.5a4 4 0 0 0 8 0",
    "M8 11.5v2.25",
  ],
  video: ["M2.25 4.25h7.5v7.5h-7.5Z", "m9.75 7 4-2.25v6.5L9.75 9"],
  document: ["M4 2.25h5l3 3v8.5H4Z", "M9 2.25v3h3", "M6 8.5h4", "M6 11h4"],
  sticker: ["M2.5 2.5h11v7l-4 4h-7Z", "M13.5 9.5h-4v4"],
  location: [
    "M8 14s4.75-4.25 4.75-7.5a4.75 4.75 0 0 0-9.5 0C3.25 9.75 8 14 8 14Z",
    "M8 5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3Z",
  ],
  contacts: ["M8 2.75a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z", "M3 13.5c0-2.5 2-3.75 5-3.75s5 1.25 5 3.75"],
  interactive: ["M2.5 3h11v4h-11Z", "M2.5 9.5h11v3.5h-11Z"],
  template: ["M3 2.5h10v11H3Z", "M5.5 5.5h5", "M5.5 8h5", "M5.5 10.5h3"],
  order: ["M2 3h1.75l1.5 7h6.5l1.5-5H4.2", "M6 12.75v.1", "M11 12.75v.1"],
};

/** What stands before a message that is no text. */
export function KindIcon({ kind }: { kind: string }): JSX.Element | null {
  if (kind === "text" || kind === "system") return null;
  return (
    <Icon class="kind" paths={KINDS[kind] ?? ["M6 6.1a2.05 2.05 0 1 1 2.9 1.9c-.6.3-.9.7-.9 1.3", "M8 11.7v.1"]} />
  );
}
