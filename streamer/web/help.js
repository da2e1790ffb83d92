// The help overlay: everything the page does, by mouse, touch and keyboard.

import { element } from "./dom.js";

const SECTIONS = [
  ["In the picture", [
    ["Click, tap", "track what is there; with an object selected, add this to it"],
    ["Alt-click, long press", "take this away from the object"],
    ["Drag", "a box around an object"],
    ["Shift-click", "a new object, even where one is tracked already"],
    ["Click on a mask", "select that object"],
  ]],
  ["Keyboard, in the picture", [
    ["Arrow keys", "move the crosshair (with Shift: by one pixel)"],
    ["Enter", "click there"],
    ["Alt + Enter", "Alt-click there"],
    ["B", "begin a box, and end it"],
  ]],
  ["Keyboard, anywhere", [
    ["1 – 9", "select an object"],
    ["N, Esc", "select none: the next click is a new object; Esc also cancels a preview"],
    ["Enter", "keep what is previewed"],
    ["R", "rename the selected object"],
    ["Delete", "remove the selected object (it can be undone for five seconds)"],
    ["P", "preview first, on or off"],
    ["M, X, T, V", "masks, boxes, trails, speeds on or off"],
    ["W", "all streams"],
    ["?", "this help"],
  ]],
];

/** A modal dialog; `open()` shows it. */
export class Help {
  constructor() {
    this.dialog = element("dialog", { class: "dialog help", "aria-labelledby": "help-title" },
      element("h2", { id: "help-title" }, "How to point at things"),
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
