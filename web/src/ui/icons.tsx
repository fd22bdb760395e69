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
export const ChecksIcon = () => <Icon width={20} paths={["m2 8.5 3 3 6.5-7", "m9 10.75.75.75 6.5-7"]} />;
export const FailedIcon = () => (
  <Icon paths={["M8 2.25a5.75 5.75 0 1 0 0 11.5 5.75 5.75 0 0 0 0-11.5Z", "M8 5.25v3.5", "M8 10.9v.1"]} />
);
export const UnknownIcon = () => <Icon paths={["M6 6.1a2.05 2.05 0 1 1 2.9 1.9c-.6.3-.9.7-.9 1.3", "M8 11.7v.1"]} />;
export const BackIcon = () => <Icon paths={["M10 3 5 8l5 5"]} />;
export const DownIcon = () => <Icon paths={["M3.5 6 8 10.5 12.5 6"]} />;
export const SendIcon = () => <Icon paths={["M8 13V3.25", "M3.75 7.5 8 3.25l4.25 4.25"]} />;
export const CloseIcon = () => <Icon paths={["m4 4 8 8", "m12 4-8 8"]} />;
