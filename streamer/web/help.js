// The help dialog: mouse, touch and keyboard controls.

import { element } from "./dom.js";

const SECTIONS = [
  ["In the picture", [
    ["Click, tap", "track the object there; with an object selected, add this point to it"],
    ["Alt-click, long press", "remove this part from the selected object"],
    ["Drag", "draw a box around an object"],
    ["Shift-click", "start a new object, even on one that is tracked"],
    ["Click on a mask", "select that object"],
  ]],
  ["Keyboard, in the picture", [
    ["Arrow keys", "move the crosshair (with Shift: by one pixel)"],
    ["Enter", "click there"],
    ["Alt + Enter", "Alt-click there"],
    ["B", "start a box; press again to finish it"],
  ]],
  ["Keyboard, anywhere", [
    ["1 – 9", "select an object"],
    ["N, Esc", "clear the selection: the next click starts a new object; Esc also cancels a preview"],
    ["Enter", "apply the preview"],
    ["F", "what is there? Outline everything; a click or Track tracks one, Esc ends it"],
    ["R", "rename the selected object"],
    ["Delete", "remove the selected object (undo within five seconds)"],
    ["P", "toggle: preview before applying"],
    ["M, X, T, V", "toggle masks, boxes, trails, speeds"],
    ["W", "show all streams"],
    ["?", "show this help"],
  ]],
];

/** A modal dialog; `open()` shows it. */
export class Help {
  constructor() {
    this.dialog = element("dialog", { class: "dialog help", "aria-labelledby": "help-title" },
      element("h2", { id: "help-title", tabindex: "-1", autofocus: true }, "How to use the page"),
      ...SECTIONS.map(([title, rows]) => element("section", {},
        element("h3", {}, title),
        element("dl", {}, ...rows.flatMap(([keys, what]) => [
          element("dt", {}, keys), element("dd", {}, what),
        ])))),
      element("div", { class: "buttons" },
        element("button", { type: "button", class: "primary", onclick: () => this.dialog.close() },
          "Close")));
    document.body.append(this.dialog);
  }

  open() {
    if (!this.dialog.open) this.dialog.showModal();
  }
}
