/**
 * What components need from outside: the state, the selected conversation in the address, the present moment, whether
 * somebody is looking.
 */
import { useEffect, useState } from "preact/hooks";
import type { Controller } from "../app/controller";
import type { State } from "../state/state";

/** How often relative times ("closes in 40 minutes") are drawn anew. */
const NOW_STEP_MS = 30_000;

export function useInboxState(controller: Controller): State {
  const [state, setState] = useState(controller.state);
  useEffect(() => {
    setState(controller.state);
    return controller.subscribe(() => setState(controller.state));
  }, [controller]);
  return state;
}

export function useNow(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), NOW_STEP_MS);
    return () => clearInterval(timer);
  }, []);
  return now;
}

export function useVisible(): boolean {
  const [visible, setVisible] = useState(document.visibilityState === "visible");
  useEffect(() => {
    const update = () => setVisible(document.visibilityState === "visible");
    document.addEventListener("visibilitychange", update);
    return () => document.removeEventListener("visibilitychange", update);
  }, []);
  return visible;
}

const CONVERSATION_PATH = "#/c/";

export function conversationHref(id: string): string {
  return CONVERSATION_PATH + encodeURIComponent(id);
}

/** The conversation in the address, so that a reload and the phone's back button do what one expects. */
export function useSelectedConversation(): string | undefined {
  const [selected, setSelected] = useState(readSelected);
  useEffect(() => {
    const update = () => setSelected(readSelected());
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return selected;
}

function readSelected(): string | undefined {
  const { hash } = location;
  if (!hash.startsWith(CONVERSATION_PATH)) return undefined;
  try {
    return decodeURIComponent(hash.slice(CONVERSATION_PATH.length)) || undefined;
  } catch {
    return undefined;
  }
}

/** Back to the list. */
export function closeConversation(): void {
  location.hash = "#/";
}
