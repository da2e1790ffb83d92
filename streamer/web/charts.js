// Small live charts: the current value, and the last minute.

import { element, setText } from "./dom.js";
import { NO_NUMBER, fixed } from "./numbers.js";

export const SAMPLES_KEPT = 120;
export const SAMPLE_MS = 500;
// Rates cover the last two seconds: half a second holds five frames one time, six the next.
const RATE_SAMPLES = 4;
const LATENCIES_KEPT = 500;

/** The top of a chart's scale: the smallest 1, 2 or 5 times a power of ten that holds `value`. */
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** A chart of at most SAMPLES_KEPT samples; the oldest is dropped. A null sample is a gap. */
export class Chart {
  #samples = [];

  constructor({ title, unit, digits = 0, hint = "" }) {
    this.unit = unit;
    this.digits = digits;
    this.value = element("span", { class: "chart-value" }, NO_NUMBER);
    this.range = element("span", { class: "chart-range" });
    this.canvas = element("canvas", { class: "chart-canvas", "aria-hidden": "true" });
    this.root = element("figure", { class: "chart", title: hint },
      element("figcaption", {},
        element("span", { class: "chart-title" }, title),
        element("span", {}, this.value, element("span", { class: "chart-unit" }, ` ${unit}`))),
      this.canvas, this.range);
  }

  push(sample) {
    this.#samples.push(Number.isFinite(sample) ? sample : null);
    if (this.#samples.length > SAMPLES_KEPT) this.#samples.shift();
    setText(this.value, fixed(sample, this.digits));
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const known = this.#samples.filter((sample) => sample !== null);
    if (!width) return;
    const ceiling = niceCeiling(Math.max(0, ...known));
    setText(this.range, `0 – ${ceiling} ${this.unit}, last minute`);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    // The canvas inherits its colours from the style sheet, light or dark.
    const { color, borderTopColor } = getComputedStyle(canvas);
    const across = (index) =>
      width - ((this.#samples.length - 1 - index) * width) / (SAMPLES_KEPT - 1);
    const down = (sample) => height - 2 - (sample / ceiling) * (height - 5);
    context.strokeStyle = borderTopColor;
    context.beginPath();
    for (const share of [0, 0.5, 1]) {
      context.moveTo(0, Math.round(down(share * ceiling)) + 0.5);
      context.lineTo(width, Math.round(down(share * ceiling)) + 0.5);
    }
    context.stroke();
    context.strokeStyle = color;
    context.fillStyle = color;
    context.lineWidth = 1.75;
    context.lineJoin = context.lineCap = "round";
    for (const [from, to] of stretches(this.#samples)) {
      context.beginPath();
      for (let index = from; index < to; index += 1) {
        context.lineTo(across(index), down(this.#samples[index]));
      }
      context.lineTo(across(to - 1), down(this.#samples[to - 1])); // a single sample is a dot
      context.stroke();
      context.lineTo(across(to - 1), height);
      context.lineTo(across(from), height);
      context.globalAlpha = 0.12;
      context.fill();
      context.globalAlpha = 1;
    }
  }
}

/** The stretches [from, to) of samples without a gap. */
function stretches(samples) {
  const found = [];
  let from = null;
  samples.forEach((sample, index) => {
    if (sample !== null && from === null) from = index;
    if (sample === null && from !== null) {
      found.push([from, index]);
      from = null;
    }
  });
  if (from !== null) found.push([from, samples.length]);
  return found;
}

/** The three charts of a stream, sampled from its results. */
export class StreamCharts {
  #latencies = [];
  #frames = 0;
  #dropped = 0;
  #counted = [{ time: performance.now(), frames: 0, dropped: 0 }]; // bound: RATE_SAMPLES + 1

  constructor() {
    this.charts = {
      latency: new Chart({
        title: "Latency", unit: "ms",
        hint: "From capture to the daemon's result, median of two seconds",
      }),
      rate: new Chart({ title: "Tracked", unit: "fps", digits: 1, hint: "Frames with results" }),
      drops: new Chart({
        title: "Dropped", unit: "fps", digits: 1,
        hint: "Frames skipped so that the newest is never late",
      }),
    };
    this.root = element("section", { class: "charts", "aria-label": "Latency, rate and drops" },
      ...Object.values(this.charts).map((chart) => chart.root));
    this.redraw = () => Object.values(this.charts).forEach((chart) => chart.draw());
    window.addEventListener("themechange", this.redraw);
    window.addEventListener("resize", this.redraw);
    this.timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  /** Add a result. */
  add(frame) {
    this.#latencies.push({ time: performance.now(), value: frame.latency_ms });
    if (this.#latencies.length > LATENCIES_KEPT) this.#latencies.shift();
    this.#frames += 1;
    this.#dropped += Object.values(frame.dropped_since_last).reduce((sum, each) => sum + each, 0);
  }

  close() {
    clearInterval(this.timer);
    window.removeEventListener("themechange", this.redraw);
    window.removeEventListener("resize", this.redraw);
  }

  #sample() {
    const now = { time: performance.now(), frames: this.#frames, dropped: this.#dropped };
    const before = this.#counted[0];
    const seconds = (now.time - before.time) / 1000;
    this.#latencies = this.#latencies.filter(({ time }) => time >= before.time);
    const sorted = this.#latencies.map(({ value }) => value).sort((a, b) => a - b);
    this.charts.latency.push(sorted.length ? sorted[Math.floor(sorted.length / 2)] : null);
    this.charts.rate.push((now.frames - before.frames) / seconds);
    this.charts.drops.push((now.dropped - before.dropped) / seconds);
    this.#counted.push(now);
    if (this.#counted.length > RATE_SAMPLES) this.#counted.shift();
  }
}
