/**
 * Where one writes. Enter sends, Shift+Enter makes a new line; what is half written stays with its conversation.
 */
import type { JSX, TargetedKeyboardEvent } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Controller } from "../app/controller";
import { SendIcon } from "./icons";

/** WhatsApp's limit for a text message, in characters. */
const LONGEST_TEXT = 4096;
/** On a phone the keyboard would cover what one came to read. */
const WIDE = "(min-width: 760px)";

interface Props {
  readonly controller: Controller;
  readonly conversation: string;
  readonly title: string;
}

export function Composer({ controller, conversation, title }: Props): JSX.Element {
  const [text, setText] = useState(() => controller.draft(conversation));
  const field = useRef<HTMLTextAreaElement>(null);

  useEffect(() => {
    if (matchMedia(WIDE).matches) field.current?.focus();
    return () => controller.stoppedTyping();
  }, [controller]);

  // The height follows the text.
  useLayoutEffect(() => {
    const element = field.current;
    if (element === null) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  const write = (value: string) => {
    setText(value);
    controller.typed(conversation, value);
  };
  const send = () => {
    const trimmed = text.trim();
    if (trimmed !== "" && controller.send(conversation, trimmed)) write("");
  };
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLTextAreaElement>) => {
    // While an input method composes, Enter chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={field}
        rows={1}
        maxLength={LONGEST_TEXT}
        value={text}
        placeholder="Write a message"
        aria-label={`Message to ${title}`}
        enterkeyhint="send"
        onInput={(event) => write(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        onBlur={() => controller.stoppedTyping()}
      />
      <button type="submit" class="send" aria-label="Send" disabled={text.trim() === ""}>
        <SendIcon />
      </button>
    </form>
  );
}
