// The list of a stream's objects: select, name, recolour, remove.

import { element, fill, icon, setText } from "./dom.js";
import { fixed, percent } from "./numbers.js";
import { PALETTE, objectColour } from "./palette.js";
import { speedText } from "./trails.js";

// Removed objects disappear here at once, and in the daemon once the time to undo is over.
const UNDO_MS = 5000;

/**
 * A panel with one row per object. Callbacks: `onSelect(id or null)`,
 * `onChange(id, {label, colour})`, `onRemove(id)` once the time to undo is over;
 * `offer(text, label, action)` shows the undo.
 */
export class ObjectList {
  #rows = new Map();
  #removing = new Map(); // id -> finish()

  constructor({ onSelect, onChange, onRemove, offer }) {
    this.selectedId = null;
    this.isReadOnly = false;
    Object.assign(this, { onSelect, onChange, onRemove, offer });
    this.count = element("span", { class: "count" });
    this.list = element("ul", { class: "object-list" });
    this.empty = element("div", { class: "quiet empty" },
      element("p", {}, "Nothing is tracked yet."),
      element("p", {}, "Click on an object in the picture."));
    this.root = element("section", { class: "panel objects", "aria-label": "Objects" },
      element("header", {}, element("h2", {}, "Objects ", this.count)), this.empty, this.list);
  }

  /** Whether an object was removed here and not yet in the daemon. */
  isRemoved(id) {
    return this.#removing.has(id);
  }

  get ids() {
    return [...this.#rows.keys()];
  }

  /** Show these objects; `speeds` by id. Updates changed rows only, to not disturb typing. */
  update(objects, speeds = new Map()) {
    const shown = objects.filter((object) => !this.#removing.has(object.id))
      .sort((a, b) => a.id - b.id);
    const ids = new Set(shown.map((object) => object.id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.root.remove();
      this.#rows.delete(id);
    }
    for (const object of shown) {
      if (!this.#rows.has(object.id)) this.#add(object.id);
      this.#rows.get(object.id).update(object, speeds.get(object.id));
    }
    setText(this.count, shown.length ? String(shown.length) : "");
    this.empty.hidden = shown.length > 0;
  }

  /** Mark the row of the selected object and open its tools. */
  select(id) {
    this.selectedId = id;
    for (const [each, row] of this.#rows) row.setSelected(each === id, this.isReadOnly);
  }

  /** Put the cursor into the name of an object. */
  rename(id) {
    this.#rows.get(id)?.rename();
  }

  /** Remove an object, with a moment to undo. */
  remove(id) {
    if (this.isReadOnly || this.#removing.has(id)) return;
    const name = this.#rows.get(id)?.name ?? `Object ${id}`;
    const note = this.offer(`${name} was removed`, "Undo", () => {
      clearTimeout(timer);
      this.#removing.delete(id);
    });
    const finish = () => {
      clearTimeout(timer);
      note.remove();
      this.onRemove(id);
    };
    const timer = setTimeout(() => {
      finish();
      // The results contain it until the daemon has removed it.
      setTimeout(() => this.#removing.delete(id), UNDO_MS);
    }, UNDO_MS);
    this.#removing.set(id, finish);
    if (this.selectedId === id) this.onSelect(null);
  }

  /** Remove for good what could still be undone: the page closes. */
  finishRemoving() {
    for (const finish of this.#removing.values()) finish();
    this.#removing.clear();
  }

  #add(id) {
    const row = new ObjectRow(id, this);
    this.#rows.set(id, row);
    const after = [...this.#rows.keys()].filter((each) => each > id).sort((a, b) => a - b)[0];
    this.list.insertBefore(row.root, after === undefined ? null : this.#rows.get(after).root);
    row.setSelected(id === this.selectedId, this.isReadOnly);
  }
}

class ObjectRow {
  #object = null;

  constructor(id, list) {
    this.id = id;
    this.swatch = element("span", { class: "swatch" }, String(id));
    this.title = element("span", { class: "object-name" });
    this.state = element("span", { class: "state" });
    this.detail = element("span", {
      class: "object-detail",
      title: "speed · how sure the model is of the mask · its size (root of the area)",
    });
    this.button = element("button", {
      type: "button", class: "object-button", "aria-pressed": "false",
      onclick: () => list.onSelect(list.selectedId === id ? null : id),
    }, this.swatch, element("span", { class: "object-text" }, this.title, this.detail), this.state);
    this.input = element("input", {
      type: "text", maxlength: "128", autocomplete: "off", "aria-label": `Name of object ${id}`,
      placeholder: "Name", onchange: () => this.#applyName(list),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== "Escape") return;
        if (event.key === "Escape") this.input.value = this.#object.label ?? "";
        this.button.focus(); // leaving the field applies the name
        event.preventDefault(); // otherwise the same key presses the button
        event.stopPropagation();
      },
    });
    const swatches = PALETTE.map(({ name, value }) => {
      const button = element("button", {
        type: "button", class: "colour", title: name, "aria-label": `Colour ${name}`,
        onclick: () => list.onChange(id, { colour: value }),
      });
      button.style.backgroundColor = value;
      button.dataset.colour = value;
      return button;
    });
    this.custom = element("input", {
      type: "color", title: "Another colour", "aria-label": "Another colour",
      onchange: () => list.onChange(id, { colour: this.custom.value }),
    });
    this.colours = swatches;
    this.tools = element("div", { class: "object-tools", hidden: true },
      this.input,
      element("div", { class: "colours", role: "group", "aria-label": "Colour" },
        ...swatches, this.custom),
      element("p", { class: "quiet" },
        "Click to add to it, Alt-click or long-press to remove a part."),
      element("button", {
        type: "button", class: "small danger", onclick: () => list.remove(id),
      }, icon("remove"), "Remove"));
    this.root = element("li", { class: "object-row" }, this.button, this.tools);
  }

  get name() {
    return this.#object?.label || `Object ${this.id}`;
  }

  update(object, speed) {
    const before = this.#object;
    this.#object = object;
    setText(this.title, this.name);
    const area = object.area > 0 ? `${fixed(Math.sqrt(object.area))} px` : "";
    const score = object.score > 0 ? percent(object.score) : "";
    setText(this.detail, [speedText(speed), score, area].filter(Boolean).join(" · "));
    const colour = objectColour(object.id, object.colour);
    if (before === null || objectColour(before.id, before.colour) !== colour) {
      this.root.style.setProperty("--object-colour", colour);
      this.custom.value = colour;
      for (const button of this.colours) {
        button.setAttribute("aria-pressed", String(button.dataset.colour === colour));
      }
    }
    if (before?.state !== object.state) {
      this.state.className = `state state-${object.state}`;
      fill(this.state, icon(object.state in STATE_ICONS ? object.state : "waiting"), object.state);
    }
    if (document.activeElement !== this.input && before?.label !== object.label) {
      this.input.value = object.label ?? "";
    }
  }

  setSelected(isSelected, isReadOnly) {
    this.root.classList.toggle("selected", isSelected);
    this.button.setAttribute("aria-pressed", String(isSelected));
    this.tools.hidden = !isSelected || isReadOnly;
  }

  rename() {
    this.input.focus();
    this.input.select();
  }

  #applyName(list) {
    const label = this.input.value.trim();
    if (label && label !== (this.#object.label ?? "")) list.onChange(this.id, { label });
  }
}

const STATE_ICONS = { visible: true, occluded: true, lost: true };
