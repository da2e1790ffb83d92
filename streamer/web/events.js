// The daemon's live events (server-sent), and their wording.

import { Backoff } from "./backoff.js";
import { duration, percent } from "./numbers.js";

const KINDS = [
  "added", "occluded", "reacquired", "lost", "removed", "prompt_applied", "prompt_rejected",
  "stream_up", "stream_down", "stream_reset", "degraded", "scene_cut",
  // Of a fleet:
  "stream_placed", "stream_moved", "stream_waiting", "stream_refused", "stream_removed",
  "worker_ready", "worker_lost", "worker_drained", "manager_started",
];

export const EVENTS_KEPT = 200;
const PAST_MS = 1000;

/**
 * Events of all streams, past ones first. Calls `onEvent(event, isPast)` for each, `onMissed`
 * when some are lost, `onConnected(boolean)` on change. The browser reconnects after a broken
 * connection and sends the last event id it saw; after a refusal this class retries.
 */
export class EventFeed {
  #epoch = null;
  #number = 0;
  #isPast = true; // until a moment after the first connection
  #source = null;
  #backoff = new Backoff();
  #timer = 0;

  constructor({ onEvent, onMissed, onConnected }) {
    this.onEvent = onEvent;
    this.onMissed = onMissed;
    this.onConnected = onConnected;
  }

  start() {
    this.close();
    const source = new EventSource(`v1/events?last=${EVENTS_KEPT}`);
    this.#source = source;
    for (const kind of KINDS) source.addEventListener(kind, (message) => this.#take(message));
    source.addEventListener("missed", () => this.onMissed());
    source.onopen = () => {
      this.#backoff.reset();
      setTimeout(() => {
        this.#isPast = false;
      }, PAST_MS);
      this.onConnected(true);
    };
    source.onerror = () => {
      this.onConnected(false);
      if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
      this.#timer = setTimeout(() => this.start(), this.#backoff.delay());
    };
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** Ids are EPOCH-NUMBER, with a new epoch at every start of the daemon: repeats are skipped. */
  #take(message) {
    const [epoch, number] = message.lastEventId.split("-");
    if (epoch === this.#epoch && Number(number) <= this.#number) return;
    this.#epoch = epoch;
    this.#number = Number(number);
    this.onEvent(JSON.parse(message.data), this.#isPast);
  }
}

// Wording for reasons whose identifier alone is unclear.
const REASONS = {
  score: "not in the picture",
  empty_mask: "its mask is empty",
  full_frame: "its mask covers the whole picture",
  left_picture: "it was last seen at the edge",
  scene_cut: "the scene changed",
  appearance: "what was found looks different",
  lost_too_long: "lost for too long",
  prompted: "it was prompted",
};

/** An event in words, without its stream: "Player 1 is hidden". */
export function describeEvent(event) {
  const object = event.label || (event.object_id ? `Object ${event.object_id}` : "An object");
  const because = event.reason ? `: ${REASONS[event.reason] ?? event.reason.replaceAll("_", " ")}` : "";
  const after = event.absent_s > 0 ? ` after ${duration(event.absent_s)}` : "";
  switch (event.kind) {
    case "added": return `${object} is tracked`;
    case "occluded": return `${object} is hidden${because}`;
    case "reacquired": return `${object} is visible again${after}${because}`;
    case "lost": return `${object} is lost${because}`;
    case "removed": return `${object} was removed${event.reason === "requested" ? "" : because}`;
    case "prompt_applied": return `${object}: prompt applied`;
    case "prompt_rejected": return `${object}: prompt not applied${because}`;
    case "stream_up": return "Stream is up";
    case "stream_down":
      return event.reason === "stream_removed" ? "Stream was removed" : `Stream is down${because}`;
    case "stream_reset": return `Stream was reset${because}`;
    case "scene_cut": return "The scene changed";
    case "stream_placed": return `Stream was placed${because}`;
    case "stream_moved": return `Stream moved to another worker${because}`;
    case "stream_waiting": return `Stream waits for a worker${because}`;
    case "degraded": return `Degraded${because}`;
    default: return `${event.kind.replaceAll("_", " ")}${because}`;
  }
}

/** The severity of an event: "good", "warning", "bad" or "plain". */
export function eventTone(event) {
  if (event.reason === "stream_removed") return "plain";
  if (["lost", "prompt_rejected", "stream_down", "worker_lost", "stream_refused"].includes(event.kind)) return "bad";
  if (["occluded", "degraded", "stream_reset", "scene_cut", "stream_moved", "stream_waiting"].includes(event.kind)) return "warning";
  if (["added", "reacquired", "stream_up", "worker_ready"].includes(event.kind)) return "good";
  return "plain";
}

// Below this score the model itself doubts its mask: there may be no object at the click.
const UNSURE_SCORE = 0.3;

/** The answer to a prompt (`PromptAnswer` of the API), as a sentence and its tone. */
export function describeAnswer({ object_id: id, track }, isNew, label = null) {
  const name = label || `Object ${id}`;
  const done = isNew ? `${name} is tracked` : `${name} was corrected`;
  const isUnsure = Number.isFinite(track.score) && track.score < UNSURE_SCORE;
  if (!isUnsure) return { text: `${done}.`, tone: "good" };
  return {
    text: `${done}, but the model is unsure of it (${percent(track.score)}): click once more, `
      + "or drag a box.",
    tone: "warning",
  };
}
