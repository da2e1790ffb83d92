// The states of a stream's objects over the last two minutes, and its events.

import { element } from "./dom.js";
import { EVENTS_KEPT, describeEvent, eventTone } from "./events.js";
import { objectColour } from "./palette.js";

export const WINDOW_MS = 120_000;
const LANES_KEPT = 64;
const PAUSE_MS = 5000; // longer than between the results of a slow machine
const DRAW_MS = 250;
const LANE_HEIGHT = 22;

/** States over time: per object, stretches {state, from, to}. Bounds: WINDOW_MS, LANES_KEPT. */
export class StateHistory {
  lanes = new Map();

  add(frame) {
    const now = frame.capture_time_ms;
    for (const { id, state, label, colour } of frame.objects) {
      const lane = this.lanes.get(id) ?? { stretches: [] };
      Object.assign(lane, { label, colour });
      if (now < lane.stretches.at(-1)?.to - PAUSE_MS) lane.stretches = []; // the clock was set back
      const last = lane.stretches.at(-1);
      // A gap in the results is drawn as a gap, not as the state before it.
      if (last && last.state === state && now - last.to < PAUSE_MS) last.to = Math.max(last.to, now);
      else lane.stretches.push({ state, from: now, to: now });
      this.lanes.set(id, lane);
    }
    for (const [id, lane] of this.lanes) {
      while (lane.stretches.length && lane.stretches[0].to < now - WINDOW_MS) {
        lane.stretches.shift();
      }
      if (!lane.stretches.length) this.lanes.delete(id);
    }
    while (this.lanes.size > LANES_KEPT) this.lanes.delete(this.lanes.keys().next().value);
  }
}

/** Lanes of states above a list of events. Bound of the list: EVENTS_KEPT, the oldest are dropped. */
export class Timeline {
  #history = new StateHistory();
  #marks = []; // events inside the window
  #now = 0;

  constructor() {
    this.canvas = element("canvas", {
      class: "timeline-canvas", role: "img",
      "aria-label": "States of the objects in the last two minutes; the events are listed below",
    });
    this.empty = element("p", { class: "quiet" }, "Nothing has happened yet.");
    this.list = element("ol", { class: "event-list", tabindex: "0", "aria-label": "Events" });
    this.legend = element("p", { class: "legend" },
      element("span", { class: "legend-visible" }, "visible"),
      element("span", { class: "legend-occluded" }, "occluded"),
      element("span", { class: "legend-lost" }, "lost"));
    this.root = element("section", { class: "panel timeline", "aria-label": "Timeline" },
      element("header", {}, element("h2", {}, "Timeline"), this.legend),
      this.canvas, this.empty, this.list);
    this.timer = setInterval(() => this.#draw(), DRAW_MS);
  }

  addFrame(frame) {
    this.#history.add(frame);
    this.#now = frame.capture_time_ms;
  }

  addEvent(event) {
    this.empty.hidden = true;
    const time = new Date(event.time_ms);
    this.list.prepend(element("li", { class: `tone-${eventTone(event)}` },
      element("time", { datetime: time.toISOString() }, time.toLocaleTimeString()),
      element("span", {}, describeEvent(event)),
      event.detail ? element("span", { class: "quiet" }, event.detail) : null));
    while (this.list.children.length > EVENTS_KEPT) this.list.lastChild.remove();
    this.#marks.push({
      time: event.time_ms, id: event.object_id, everywhere: event.kind === "scene_cut",
    });
    if (this.#marks.length > EVENTS_KEPT) this.#marks.shift();
  }

  close() {
    clearInterval(this.timer);
  }

  #draw() {
    const { canvas } = this;
    const lanes = [...this.#history.lanes].sort(([a], [b]) => a - b);
    canvas.hidden = lanes.length === 0;
    if (!lanes.length || document.hidden) return;
    const unit = Number.parseFloat(getComputedStyle(canvas).fontSize) / 13;
    const lane = LANE_HEIGHT * unit;
    const height = lanes.length * lane + 16 * unit;
    canvas.style.height = `${height}px`;
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const { color, borderTopColor } = getComputedStyle(canvas);
    const left = Math.min(150 * unit, width * 0.3);
    const across = (time) => left + (1 - (this.#now - time) / WINDOW_MS) * (width - left);
    context.font = `${12 * unit}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    this.#drawScale(context, { across, color, line: borderTopColor, height, unit });
    lanes.forEach(([id, { label, colour, stretches }], index) => {
      const middle = (index + 0.5) * lane;
      context.fillStyle = color;
      context.fillText(`${id}  ${label || `Object ${id}`}`, 0, middle, left - 10);
      for (const stretch of stretches) {
        const from = Math.max(left, across(stretch.from));
        const to = Math.max(from + 1.5, across(stretch.to));
        drawStretch(context, stretch.state, from, to, middle, objectColour(id, colour), unit);
      }
      context.fillStyle = color;
      for (const mark of this.#marks) {
        if ((mark.everywhere || mark.id === id) && mark.time > this.#now - WINDOW_MS) {
          context.fillRect(across(mark.time) - 0.75, middle - 8 * unit, 1.5, 16 * unit);
        }
      }
    });
  }

  #drawScale(context, { across, color, line, height, unit }) {
    context.strokeStyle = line;
    context.fillStyle = color;
    context.globalAlpha = 0.75;
    for (const seconds of [120, 90, 60, 30, 0]) {
      const x = across(this.#now - seconds * 1000);
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height - 14 * unit);
      context.stroke();
      context.textAlign = seconds === 0 ? "right" : "center";
      context.fillText(seconds === 0 ? "now" : `−${seconds} s`, x, height - 6 * unit);
    }
    context.textAlign = "left";
    context.globalAlpha = 1;
  }
}

/** Told apart by shape: visible is a full bar, occluded a hatched outline, lost a thin line. */
function drawStretch(context, state, from, to, middle, colour, unit) {
  const half = 6 * unit;
  context.fillStyle = colour;
  context.strokeStyle = colour;
  if (state === "visible") {
    context.fillRect(from, middle - half, to - from, 2 * half);
  } else if (state === "occluded") {
    context.save();
    context.beginPath();
    context.rect(from, middle - half, to - from, 2 * half);
    context.clip();
    context.lineWidth = 1.5;
    context.beginPath();
    for (let x = from - 2 * half; x < to; x += 5 * unit) {
      context.moveTo(x, middle + half);
      context.lineTo(x + 2 * half, middle - half);
    }
    context.rect(from, middle - half, to - from, 2 * half);
    context.stroke();
    context.restore();
  } else {
    context.fillRect(from, middle - 1, to - from, 2);
  }
}
