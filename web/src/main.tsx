/**
 * The composition root of the page: takes the token from the address, then shows the sign-in form or the inbox.
 */
import { render } from "preact";
import { Controller } from "./app/controller";
import { currentSession, takeTokenFromAddress, tokenInFragment } from "./app/session";
import { InboxPage } from "./ui/inbox-page";
import { SignIn } from "./ui/sign-in";
import "./ui/styles/base.css";
import "./ui/styles/list.css";
import "./ui/styles/conversation.css";
import "./ui/styles/edges.css";

function start(): void {
  const root = document.getElementById("app");
  if (root === null) throw new Error("index.html lacks #app");
  takeTokenFromAddress();
  // A sign-in link opened in a tab that already shows the page changes nothing but the fragment.
  addEventListener("hashchange", () => {
    if (tokenInFragment(location.hash) === undefined) return;
    takeTokenFromAddress();
    location.reload();
  });
  const session = currentSession();
  if (session === undefined) {
    render(<SignIn />, root);
    return;
  }
  const controller = new Controller(session);
  render(<InboxPage controller={controller} />, root);
  controller.start();
}

start();
