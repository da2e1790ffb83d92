// Tells what happened: short notes on the screen that screen readers read out.

import { element } from "./dom.js";

const NOTES_SHOWN = 4; // the oldest goes
const NOTE_MS = 6000;

/** Shows notes in `container` (an aria-live region). */
export class Announcer {
  constructor(container) {
    this.container = container;
  }

  /** Say something for some seconds; `tone` is "plain", "good", "warning" or "bad". */
  say(text, tone = "plain") {
    const note = element("div", { class: `note tone-${tone}` }, text);
    this.#show(note);
    setTimeout(() => note.remove(), NOTE_MS);
  }

  /** Say something with a button, until that is pressed or `remove()` of the answer is called. */
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
