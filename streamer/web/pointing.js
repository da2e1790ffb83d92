// Turns mouse, touch and keyboard over the picture into points and boxes of the frame.

import { boxBetween, clampToFrame, toFrame } from "./geometry.js";

const DRAG_PX = 8;
const LONG_PRESS_MS = 500;
const SMALLEST_BOX_PX = 3; // of the frame; smaller drags are accidental
const STEP = 1 / 60; // of the frame's width, for one press of an arrow key

/**
 * Watches a stage (focusable) and calls `onGesture(gesture)`: a gesture is `{points: [{x, y,
 * positive}], moment, isNew}` or `{box, moment, isNew}`. `moment()` names the frame that is shown;
 * a click refers to the frame at the press, a box to the frame at its end.
 * `isNew` (Shift) asks for a new object. `onChange` is called when the crosshair or the draft moves,
 * `onHover(place)` when the pointer or the crosshair does; null: it left the picture.
 */
export class Pointing {
  #press = null;
  #corner = null; // of a box that is drawn by keyboard

  crosshair = null;
  draft = null;

  constructor(stage, { overlay, moment, onGesture, onChange, onHover }) {
    this.stage = stage;
    this.overlay = overlay;
    this.moment = moment;
    this.onGesture = onGesture;
    this.onChange = onChange;
    this.onHover = onHover;
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointerleave", () => this.onHover(null));
    stage.addEventListener("pointercancel", () => this.#cancel());
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("blur", () => this.#hideCrosshair());
  }

  /** Discard a box that is being drawn; returns whether there was one. */
  cancel() {
    const wasDrawing = this.draft !== null;
    this.#cancel();
    this.#corner = null;
    return wasDrawing;
  }

  #place(event, isClamped = false) {
    const rectangle = this.overlay.rectangle();
    if (!rectangle) return null;
    const bounds = this.overlay.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const point = toFrame(x, y, rectangle);
    if (point || !isClamped) return point && this.#clamped(point);
    return this.#clamped({
      x: (x - rectangle.left) / rectangle.scale, y: (y - rectangle.top) / rectangle.scale,
    });
  }

  #clamped(point) {
    return clampToFrame(point, this.overlay.frameWidth, this.overlay.frameHeight);
  }

  #down(event) {
    if (event.button !== 0 || !event.isPrimary || event.target.closest("button, input")) return;
    const point = this.#place(event);
    if (!point) return;
    this.stage.setPointerCapture(event.pointerId);
    this.#hideCrosshair();
    this.#press = {
      point, moment: this.moment(), x: event.clientX, y: event.clientY,
      timer: event.pointerType === "touch"
        ? setTimeout(() => this.#longPress(), LONG_PRESS_MS) : 0,
    };
  }

  #move(event) {
    const press = this.#press;
    if (!event.isPrimary) return;
    if (!press) {
      if (!event.target.closest(".stage-bar")) this.onHover(this.#place(event));
      return;
    }
    const moved = Math.hypot(event.clientX - press.x, event.clientY - press.y);
    if (!this.draft && moved < DRAG_PX) return;
    clearTimeout(press.timer);
    this.draft = boxBetween(press.point, this.#place(event, true));
    this.onChange();
  }

  #up(event) {
    const press = this.#press;
    if (!press || !event.isPrimary) return;
    const box = this.draft;
    this.#cancel();
    if (box) this.#tellBox(box, event.shiftKey);
    else this.#tellPoint(press.point, press.moment, !event.altKey, event.shiftKey);
  }

  #longPress() {
    const press = this.#press;
    this.#cancel();
    navigator.vibrate?.(20);
    this.#tellPoint(press.point, press.moment, false, false);
  }

  #cancel() {
    clearTimeout(this.#press?.timer);
    this.#press = null;
    this.draft = null;
    this.onChange();
  }

  #tellPoint(point, moment, positive, isNew) {
    this.onGesture({ points: [{ ...point, positive }], moment, isNew });
  }

  #tellBox(box, isNew) {
    if (box[2] - box[0] < SMALLEST_BOX_PX || box[3] - box[1] < SMALLEST_BOX_PX) return;
    this.onGesture({ box, moment: this.moment(), isNew });
  }

  // By keyboard: arrows move a crosshair, Enter is a click, B begins and ends a box.

  #key(event) {
    if (event.target !== this.stage || event.ctrlKey || event.metaKey) return;
    const directions = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    };
    if (event.key in directions) this.#moveCrosshair(directions[event.key], event.shiftKey);
    else if (event.key === "Enter" && this.crosshair) this.#enter(event);
    else if (event.key.toLowerCase() === "b" && this.crosshair) this.#toggleBox();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #moveCrosshair([dx, dy], isFine) {
    const { frameWidth, frameHeight } = this.overlay;
    if (!frameWidth) return;
    const step = isFine ? 1 : Math.max(2, frameWidth * STEP);
    const from = this.crosshair ?? { x: frameWidth / 2, y: frameHeight / 2 };
    this.crosshair = this.crosshair
      ? this.#clamped({ x: from.x + dx * step, y: from.y + dy * step }) : from;
    if (this.#corner) this.draft = boxBetween(this.#corner, this.crosshair);
    this.onHover(this.crosshair);
    this.onChange();
  }

  #enter(event) {
    if (this.#corner) this.#toggleBox();
    else this.#tellPoint(this.crosshair, this.moment(), !event.altKey, event.shiftKey);
  }

  #toggleBox() {
    if (this.#corner) {
      const box = boxBetween(this.#corner, this.crosshair);
      this.cancel();
      this.#tellBox(box, false);
    } else {
      this.#corner = this.crosshair;
      this.draft = boxBetween(this.#corner, this.#corner);
      this.onChange();
    }
  }

  #hideCrosshair() {
    this.crosshair = null;
    this.#corner = null;
    this.draft = null;
    this.onChange();
  }
}
