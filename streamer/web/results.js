// A stream's results over a WebSocket that reconnects until it is closed.

import { path } from "./api.js";
import { Backoff } from "./backoff.js";

// A socket over a dead network stays silent for ever; the daemon sends its status every 5 s.
const SILENCE_MS = 15_000;

/**
 * The results of one stream. Callbacks: `onFrame`, `onStatus` (messages as they arrive) and
 * `onConnected(boolean)`. Nothing is stored here.
 */
export class Results {
  #socket = null;
  #backoff = new Backoff();
  #timer = 0;
  #heardAt = 0;
  #watch = 0;

  constructor(streamId, { onFrame, onStatus, onConnected }) {
    this.url = new URL(`${path(streamId, "results")}?masks=rle`, location.href);
    this.url.protocol = this.url.protocol === "https:" ? "wss:" : "ws:";
    this.onFrame = onFrame;
    this.onStatus = onStatus;
    this.onConnected = onConnected;
  }

  start() {
    this.#connect();
    this.#watch = setInterval(() => {
      if (this.#socket && performance.now() - this.#heardAt > SILENCE_MS) this.#socket.close();
    }, 2000);
  }

  close() {
    clearInterval(this.#watch);
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #connect() {
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    this.#heardAt = performance.now();
    socket.onopen = () => {
      this.#backoff.reset();
      this.onConnected(true);
    };
    socket.onmessage = (event) => {
      if (socket !== this.#socket) return;
      this.#heardAt = performance.now();
      const message = JSON.parse(event.data);
      if (message.type === "frame") this.onFrame(message);
      else if (message.type === "status") this.onStatus(message);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.onConnected(false);
      this.#timer = setTimeout(() => this.#connect(), this.#backoff.delay());
    };
  }
}
