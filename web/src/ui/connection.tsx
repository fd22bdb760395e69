/**
 * How the page stands with the server: a small mark at the top, and a bar that says what to do when something is wrong.
 */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Controller } from "../app/controller";
import { signOut } from "../app/session";
import type { BreakCause, ConnectionState, Problem, StopCause } from "../client";

export function ConnectionMark({ connection }: { connection: ConnectionState }): JSX.Element {
  const label = {
    connecting: "Connecting",
    live: "Live",
    offline: "Offline",
    stopped: "Stopped",
  }[connection.phase];
  return (
    <span class={`connection connection-${connection.phase}`} role="status">
      <span class="dot" aria-hidden="true" />
      {label}
    </span>
  );
}

const OFFLINE: Readonly<Record<BreakCause, string>> = {
  network: "No connection to the server.",
  busy: "The server cannot take connections right now.",
  stopping: "The server is restarting.",
  protocol: "The connection was closed after a protocol error.",
};

export const STOPPED: Readonly<Record<StopCause, string>> = {
  no_token: "You are not signed in.",
  token: "Your sign-in has ended, or the server does not accept it.",
  token_revoked: "Your sign-in was revoked.",
  blocked: "Your account or user is blocked. Please ask your administrator.",
  taken_over: "This inbox was opened in another tab or on another device with the same id.",
};

interface Props {
  readonly controller: Controller;
  readonly connection: ConnectionState;
  readonly problem: Problem | undefined;
}

export function ConnectionBar({ controller, connection, problem }: Props): JSX.Element | null {
  if (connection.phase === "stopped") return <StoppedBar cause={connection.cause} />;
  if (connection.phase === "offline") {
    return (
      <div class="bar bar-warning" role="status">
        <p>
          <strong>{OFFLINE[connection.cause]}</strong> What you send is kept and goes out when the connection is back.{" "}
          <Countdown until={connection.retryAt} />
        </p>
        <button type="button" onClick={() => controller.retryNow()}>
          Try now
        </button>
      </div>
    );
  }
  if (connection.phase === "live" && problem !== undefined) {
    return (
      <div class="bar bar-warning" role="status">
        <p>
          <strong>{problem.title}.</strong> {problem.detail} It is tried again by itself.{" "}
          <span class="code">{problem.code}</span>
        </p>
      </div>
    );
  }
  return null;
}

function StoppedBar({ cause }: { cause: StopCause }): JSX.Element {
  const takenOver = cause === "taken_over";
  return (
    <div class="bar bar-stopped" role="alert">
      <p>
        <strong>{STOPPED[cause]}</strong>{" "}
        {takenOver ? "It goes on there." : "Nothing is lost: new messages wait in your inbox."}
      </p>
      <button
        type="button"
        class="primary"
        onClick={() => {
          if (!takenOver) signOut();
          location.reload();
        }}
      >
        {takenOver ? "Use it here" : "Sign in again"}
      </button>
    </div>
  );
}

/** Not announced each second: a screen reader hears only the bar's text. */
function Countdown({ until }: { until: number }): JSX.Element {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((until - now) / 1000));
  return <span aria-hidden="true">Next try in {seconds} s.</span>;
}
