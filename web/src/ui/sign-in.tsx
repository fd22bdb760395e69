/**
 * What one sees without a token: where to get one, and a field to paste it.
 */
import type { JSX, TargetedSubmitEvent } from "preact";
import { useState } from "preact/hooks";
import { complaintAbout, signIn } from "../app/session";

/** `reason` = why the token that was here is not good enough. */
export function SignIn({ reason }: { reason?: string }): JSX.Element {
  const [complaint, setComplaint] = useState(reason);

  const submit = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const token = String(new FormData(event.currentTarget).get("token") ?? "").trim();
    const found = complaintAbout(token, new Date());
    setComplaint(found);
    if (found !== undefined) return;
    signIn(token);
    location.reload();
  };

  return (
    <main class="sign-in">
      <form class="card" onSubmit={submit}>
        <img src="/favicon.svg" alt="" width={44} height={44} />
        <h1>Sign in to your inbox</h1>
        <p>
          Open the link you were given, or paste your token here. It stays in this tab and is gone when you close it.
        </p>
        <label for="token">Token</label>
        <textarea
          id="token"
          name="token"
          rows={4}
          required
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          aria-describedby="token-help"
          aria-invalid={complaint !== undefined}
        />
        {complaint !== undefined && (
          <p class="complaint" role="alert">
            {complaint}
          </p>
        )}
        <button type="submit" class="primary">
          Sign in
        </button>
        <p id="token-help" class="hint">
          Trying it out? <code>inboxd demo</code> prints a link that opens this page signed in. On your own server,{" "}
          <code>inboxd token --account … --user …</code> prints a token.
        </p>
      </form>
    </main>
  );
}
