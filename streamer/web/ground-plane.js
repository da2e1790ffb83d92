// Calibrating the ground: four points of the picture and where they lie in metres.

import { element, icon, setText } from "./dom.js";
import { hasThreeInLine, homographyOf } from "./homography.js";

const POINTS = 4;

/**
 * A form that collects four point pairs; points come in through `addPoint` while it is open.
 * `onSave(pairs)` gets [[x, y, X, Y], …] or an empty list; an error it throws is shown.
 * `onChange()` is called when it opens, closes or gets a point.
 */
export class GroundPlaneForm {
  #points = [];

  constructor({ onSave, onChange }) {
    this.onSave = onSave;
    this.onChange = onChange;
    this.isOpen = false;
    this.instruction = element("p", { role: "status" });
    this.fields = Array.from({ length: POINTS }, (_, index) => this.#makeRow(index));
    this.saveButton = element("button", { type: "submit", class: "primary" }, icon("check"), "Save");
    this.clearButton = element("button", {
      type: "button", onclick: () => this.#save([]),
    }, "Show speeds in pixels");
    this.root = element("form", {
      class: "panel ground-plane", hidden: true, "aria-label": "Ground calibration",
      onsubmit: (event) => {
        event.preventDefault();
        this.#save(this.#pairs());
      },
    },
    element("header", {}, element("h2", {}, "Ground calibration in metres")),
    this.instruction,
    element("div", { class: "ground-rows" }, ...this.fields.map((field) => field.row)),
    element("div", { class: "buttons" }, this.saveButton,
      element("button", { type: "button", onclick: () => this.#startAnew() }, "Start over"),
      this.clearButton,
      element("button", { type: "button", onclick: () => this.close() }, "Close")));
  }

  /** The points as the overlay draws them. */
  get points() {
    return this.#points.map((point, index) => ({ ...point, text: String(index + 1) }));
  }

  /** Open with the current pairs, if any are set. */
  open(pairs) {
    this.#points = pairs.map(([x, y]) => ({ x, y }));
    pairs.forEach(([, , x, y], index) => {
      this.fields[index].across.value = String(x);
      this.fields[index].along.value = String(y);
    });
    this.clearButton.hidden = pairs.length === 0;
    this.isOpen = true;
    this.root.hidden = false;
    this.#update();
    this.root.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.isOpen = false;
    this.root.hidden = true;
    this.onChange();
  }

  addPoint({ x, y }) {
    if (this.#points.length >= POINTS) return;
    this.#points.push({ x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 });
    this.#update();
    // Only after the last one: until then the next click goes into the picture.
    if (this.#points.length === POINTS) this.fields[0].across.focus();
  }

  #makeRow(index) {
    const field = (name) => element("input", {
      type: "number", step: "any", inputmode: "decimal", disabled: true,
      "aria-label": `Point ${index + 1}, ${name}, metres`, placeholder: name,
      oninput: () => this.#update(),
    });
    const [across, along] = [field("across"), field("along")];
    const place = element("span", { class: "quiet ground-place" });
    const row = element("div", { class: "ground-row" },
      element("span", { class: "point-number" }, String(index + 1)), place, across, along,
      element("span", { class: "quiet" }, "m"));
    return { row, across, along, place };
  }

  #startAnew() {
    this.#points = [];
    for (const { across, along } of this.fields) across.value = along.value = "";
    this.#update();
  }

  #pairs() {
    return this.#points.map(({ x, y }, index) => {
      const { across, along } = this.fields[index];
      const metres = (input) => (input.value === "" ? Number.NaN : Number(input.value));
      return [x, y, metres(across), metres(along)];
    });
  }

  #update() {
    const count = this.#points.length;
    this.fields.forEach(({ across, along, place }, index) => {
      const point = this.#points[index];
      across.disabled = along.disabled = !point;
      setText(place, point ? `${Math.round(point.x)}, ${Math.round(point.y)} px` : "–");
    });
    const isUsable = homographyOf(this.#pairs()) !== null;
    this.saveButton.disabled = !isUsable;
    setText(this.instruction, this.#advice(count, isUsable));
    this.onChange();
  }

  #advice(count, isUsable) {
    if (count < POINTS) {
      return `Click point ${count + 1} of ${POINTS} on the ground: the corners of a known `
        + "rectangle do well, such as a penalty area.";
    }
    if (hasThreeInLine(this.#points.map(({ x, y }) => [x, y]))) {
      return "Three of these points are collinear. Start over with the corners of a four-sided area.";
    }
    if (!isUsable) return "Enter the position of each point in metres, from any origin you choose.";
    return "Save to show speeds in metres per second.";
  }

  async #save(pairs) {
    try {
      await this.onSave(pairs);
      this.close();
    } catch (error) {
      setText(this.instruction, error.message);
    }
  }
}
