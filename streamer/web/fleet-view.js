// The whole fleet: its machines, their load, the streams on each, and what waits.

import { describeEvent } from "./events.js";
import { element, fill, icon, setText } from "./dom.js";
import { NO_NUMBER, duration, percent } from "./numbers.js";

const LIST_EVERY_MS = 2000;
const EVENTS_SHOWN = 12;

const WORKER_STATES = {
  ready: { name: "live", text: "ready", iconName: "live" },
  starting: { name: "connecting", text: "starting", iconName: "waiting" },
  draining: { name: "paused", text: "draining", iconName: "paused" },
  lost: { name: "lost", text: "lost", iconName: "lost" },
};
const MOVES = {
  requested: "by request", drained: "for a drain", overloaded: "for overload",
  worker_lost: "for a lost worker",
};

/** What a person needs to know of a fleet, as GET v1/fleet gives it; no elements, no time. */
export function summary({ workers, streams, totals }) {
  const waiting = streams.filter(({ state }) => state === "waiting");
  const answering = workers.filter(({ answers }) => answers).length;
  const moves = Object.entries(totals.moves)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${count} ${MOVES[reason] ?? reason}`);
  return {
    waiting,
    figures: [
      ["Workers that answer", `${answering} of ${workers.length}`],
      ["Streams placed", `${streams.length - waiting.length} of ${streams.length}`],
      ["Moves", moves.join(", ") || "none"],
      ["Failovers", totals.failovers
        ? `${totals.failovers}, ${duration(totals.failover_s / totals.failovers)} on average`
        : "none"],
    ],
  };
}

/** Workers by node, both in order of their names: [[node, [worker, …]], …]. */
export function byNode(workers) {
  const nodes = new Map();
  for (const worker of workers) {
    if (!nodes.has(worker.node)) nodes.set(worker.node, []);
    nodes.get(worker.node).push(worker);
  }
  const byName = (first, second) => (first < second ? -1 : 1);
  return [...nodes]
    .map(([node, those]) => [node, those.sort((a, b) => byName(a.worker_id, b.worker_id))])
    .sort(([first], [second]) => byName(first, second));
}

/** The ids of the streams and workers that a text finds; a worker or machine with all its streams. */
export function matching({ workers, streams }, text) {
  const has = (name) => name.toLowerCase().includes(text.trim().toLowerCase());
  const named = new Set(workers.filter(({ worker_id: id, node }) => has(id) || has(node))
    .map(({ worker_id: id }) => id));
  const found = streams.filter(({ stream_id: id, worker_id: on }) => has(id) || named.has(on));
  return {
    streams: new Set(found.map(({ stream_id: id }) => id)),
    workers: new Set([...named, ...found.map(({ worker_id: on }) => on)]),
  };
}

/** The view behind "Fleet" in the page's header. */
export class FleetView {
  #timer = 0;
  #isClosed = false;
  #shown = "";
  #fleet = null;

  constructor({ api }) {
    this.api = api;
    this.filter = element("input", {
      type: "search", placeholder: "gate, w2, node-7", "aria-label": "Find streams, workers and machines",
      oninput: () => this.#fleet && this.#show(this.#fleet),
    });
    this.title = element("span", { class: "count" });
    this.note = element("p", { class: "error", role: "status" });
    this.figures = element("dl", { class: "figures panel" });
    this.nodes = element("div", { class: "nodes" });
    this.waiting = element("section", { class: "panel", hidden: true });
    this.events = element("ol", { class: "event-list" });
    this.root = element("main", { class: "fleet-view", tabindex: "-1" },
      element("header", { class: "view-header" },
        element("a", { class: "back", href: "#/" }, icon("back"), "All streams"),
        element("h1", {}, "Fleet ", this.title),
        element("span", { class: "spacer" }), this.filter),
      this.note, this.figures, this.waiting, this.nodes,
      element("section", { class: "panel" }, element("h2", {}, "What happened"), this.events));
    this.#refresh();
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #refresh() {
    try {
      const fleet = await this.api.fleet();
      const text = JSON.stringify(fleet);
      // Built anew only where something differs: a link under the pointer stays.
      if (!this.#isClosed && text !== this.#shown) {
        this.#shown = text;
        this.#fleet = fleet;
        this.#showKeepingFocus();
      }
    } catch (error) {
      // The banner reports a gateway that is away; the fleet is asked for again.
      setText(this.note, error.status ? error.message : "");
    }
    if (!this.#isClosed) this.#timer = setTimeout(() => this.#refresh(), LIST_EVERY_MS);
  }

  /** A link that had the focus is another element now: the focus goes to the one with its address. */
  #showKeepingFocus() {
    const focused = document.activeElement;
    const isOurs = focused !== null && focused.tagName === "A" && this.root.contains(focused);
    this.#show(this.#fleet);
    if (!isOurs || focused.isConnected) return;
    const same = [...this.root.querySelectorAll("a")].find(({ href }) => href === focused.href);
    (same ?? this.root).focus({ preventScroll: true });
  }

  #show(fleet) {
    const { waiting, figures } = summary(fleet);
    const found = matching(fleet, this.filter.value);
    setText(this.title, fleet.name);
    setText(this.note, fleet.current ? ""
      : "The fleet's manager does not answer: this is what was last known. Streams that run go on.");
    fill(this.figures, ...figures.map(([name, value]) =>
      element("div", {}, element("dt", { class: "quiet" }, name), element("dd", {}, value))));
    this.waiting.hidden = waiting.length === 0;
    fill(this.waiting, element("h2", {}, `Streams that wait (${waiting.length})`),
      element("ul", { class: "event-list" }, ...waiting.filter(({ stream_id: id }) => found.streams.has(id))
        .map(({ stream_id: id, reason }) =>
          element("li", {}, streamLink(id), ` ${reason ?? "not placed yet"}`))));
    const nodes = byNode(fleet.workers.filter(({ worker_id: id }) => found.workers.has(id)));
    fill(this.nodes, ...nodes.map(([node, workers]) => nodePanel(node, workers, fleet, found)));
    if (nodes.length === 0) {
      fill(this.nodes, element("p", { class: "quiet" },
        fleet.workers.length ? `No worker and no stream on one has “${this.filter.value}” in its name.`
          : "There are no workers yet."));
    }
    fill(this.events, ...fleet.events.slice(-EVENTS_SHOWN).reverse().map(eventRow));
  }
}

function nodePanel(node, workers, { streams, draining }, found) {
  return element("section", { class: "panel node" },
    element("header", {},
      element("h2", {}, node),
      draining.includes(node) ? element("span", { class: "state state-paused" }, icon("paused"), "draining") : null),
    ...workers.map((worker) => workerRow(worker,
      streams.filter(({ stream_id: id, worker_id: on }) => on === worker.worker_id && found.streams.has(id)))));
}

function workerRow(worker, streams) {
  const isAway = worker.state === "ready" && !worker.answers;
  const { name, text, iconName } = isAway ? WORKER_STATES.lost
    : WORKER_STATES[worker.state] ?? { name: "connecting", text: worker.state, iconName: "waiting" };
  const { load } = worker;
  const moving = ({ next_worker_id: next }) => (next ? ` → ${next}` : "");
  return element("div", { class: "worker" },
    element("div", { class: "worker-head" },
      element("strong", {}, worker.worker_id),
      element("span", { class: `state state-${name}` }, icon(iconName), isAway ? "does not answer" : text),
      element("span", { class: "quiet" }, worker.version || NO_NUMBER)),
    element("div", { class: "load" },
      element("meter", {
        min: 0, max: 1, high: 0.9, value: Math.min(load.share, 1),
        "aria-label": `Load of worker ${worker.worker_id}`,
      }),
      element("span", { class: load.overloaded ? "error" : "quiet" },
        `${percent(load.share)} of its capacity, ${load.objects} objects`,
        load.overloaded ? ", overloaded" : "")),
    streams.length === 0 ? element("p", { class: "quiet" }, "no streams")
      : element("ul", { class: "worker-streams" }, ...streams.map((stream) =>
        element("li", {}, streamLink(stream.stream_id), moving(stream)))));
}

function streamLink(id) {
  return element("a", { href: `#/streams/${encodeURIComponent(id)}` }, id);
}

function eventRow({ time_ns: time, kind, stream_id: stream, worker_id: worker, reason }) {
  const words = describeEvent({ kind, reason });
  return element("li", {},
    element("time", {}, new Date(time / 1e6).toLocaleTimeString()),
    element("span", {}, [stream, words, worker && `worker ${worker}`].filter(Boolean).join(" · ")));
}
