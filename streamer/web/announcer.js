// Short notifications that screen readers read out.

import { element } from "./dom.js";

const NOTES_SHOWN = 4; // the oldest is dropped
const NOTE_MS = 6000;

/** Shows notes in `container` (an aria-live region). */
export class Announcer {
  constructor(container) {
    this.container = container;
  }

  /** Show a note for some seconds; `tone` is "plain", "good", "warning" or "bad". */
  say(text, tone = "plain") {
    const note = element("div", { class: `note tone-${tone}` }, text);
    this.#show(note);
    setTimeout(() => note.remove(), NOTE_MS);
  }

  /** Show a note with a button, until it is pressed or the returned `remove()` is called. */
  offer(text, label, action) {
    const note = element("div", { class: "note" }, text);
    note.append(element("button", {
      type: "button", class: "small",
      onclick: () => {
        note.remove();
        action();
      },
    }, label));
    this.#show(note);
    return note;
  }

  #show(note) {
    this.container.append(note);
    while (this.container.children.length > NOTES_SHOWN) this.container.firstChild.remove();
  }
}
