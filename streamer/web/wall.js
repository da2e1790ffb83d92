// All streams at once: a wall of pictures with their states.

import { path } from "./api.js";
import { element, fill, icon, setText } from "./dom.js";
import { LiveVideo } from "./live-video.js";
import { remember, remembered } from "./settings.js";
import { streamState } from "./stream-state.js";

const LIST_EVERY_MS = 3000;
const SNAPSHOT_EVERY_MS = 1000;
const SNAPSHOT_WIDTH = 640;
// Each live picture costs this machine and the daemon a connection; the others are snapshots.
const LIVE_TILES = 12;

/** The wall; `onOpen(streamId)` is called once on arrival if there is only one stream. */
export class WallView {
  #tiles = new Map();
  #timer = 0;
  #isClosed = false;

  constructor({ api, announcer, mayControl, onAddStream, onFirstList }) {
    Object.assign(this, { api, announcer, onFirstList });
    this.isLive = remembered("liveWall", true);
    const live = element("input", {
      type: "checkbox", role: "switch",
      onchange: () => {
        this.isLive = live.checked;
        remember("liveWall", this.isLive);
        for (const tile of this.#tiles.values()) tile.hidePicture();
        this.#showPictures();
      },
    });
    live.checked = this.isLive;
    this.count = element("span", { class: "count" });
    this.grid = element("ul", { class: "wall" });
    this.empty = element("div", { class: "panel empty quiet", hidden: true },
      element("p", {}, "There are no streams yet."),
      element("p", {}, "Add one, or use this device's camera."));
    this.root = element("main", { class: "wall-view", tabindex: "-1" },
      element("header", { class: "view-header" },
        element("h1", {}, "Streams ", this.count),
        element("span", { class: "spacer" }),
        element("label", { class: "switch" }, live, element("span", {}, "Live pictures")),
        mayControl ? element("button", { type: "button", class: "small", onclick: onAddStream },
          icon("add"), "Add a stream") : null),
      this.empty, this.grid);
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const tile = this.#tiles.get(target.dataset.streamId);
        if (tile) tile.isOnScreen = isIntersecting;
      }
      this.#showPictures();
    });
    this.ticker = setInterval(() => this.#showPictures(), SNAPSHOT_EVERY_MS);
    this.refresh();
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearInterval(this.ticker);
    this.observer.disconnect();
    for (const tile of this.#tiles.values()) tile.close();
  }

  onEvent(event) {
    if (event.kind.startsWith("stream_")) this.refresh();
    this.#tiles.get(event.stream_id)?.flash();
  }

  /** Fetch the list now, and again every few seconds. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      const streams = await this.api.streams();
      if (this.#isClosed) return;
      this.#update(streams);
      this.onFirstList?.(streams);
      this.onFirstList = null;
    } catch {
      // The banner reports a daemon that is away; the list is fetched again.
    }
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => this.refresh(), LIST_EVERY_MS);
  }

  #update(streams) {
    const ids = new Set(streams.map(({ id }) => id));
    for (const [id, tile] of this.#tiles) {
      if (ids.has(id)) continue;
      this.observer.unobserve(tile.root);
      tile.close();
      tile.root.remove();
      this.#tiles.delete(id);
    }
    for (const stream of streams) {
      if (!this.#tiles.has(stream.id)) {
        const tile = new Tile(stream.id);
        this.#tiles.set(stream.id, tile);
        this.grid.append(tile.root);
        this.observer.observe(tile.root);
      }
      this.#tiles.get(stream.id).update(stream);
    }
    setText(this.count, streams.length ? String(streams.length) : "");
    this.empty.hidden = streams.length > 0;
    this.#showPictures();
  }

  #showPictures() {
    let live = 0;
    for (const tile of this.#tiles.values()) {
      if (!tile.isOnScreen || !tile.isPlaced || document.hidden) tile.hidePicture();
      else if (this.isLive && tile.mayBeLive && live < LIVE_TILES) {
        live += 1;
        tile.showLive();
      } else tile.showSnapshot();
    }
  }
}

class Tile {
  #live = null;
  #isLoading = false;
  #asked = 0;

  isOnScreen = false;
  mayBeLive = true;
  isPlaced = true; // false for a stream of a fleet that waits for a worker

  constructor(streamId) {
    this.streamId = streamId;
    this.snapshot = element("img", { alt: "", hidden: true, decoding: "async" });
    this.snapshot.addEventListener("load", () => {
      this.#isLoading = false;
      this.snapshot.hidden = this.#live !== null;
    });
    this.snapshot.addEventListener("error", () => {
      this.#isLoading = false;
      this.snapshot.hidden = true;
    });
    this.video = element("video", {
      playsinline: true, autoplay: true, tabindex: "-1", disablepictureinpicture: true,
    });
    this.video.muted = true;
    this.canvas = element("canvas", { hidden: true });
    this.state = element("span", { class: "state" });
    this.detail = element("span", { class: "quiet" });
    this.message = element("span", { class: "tile-message" });
    this.root = element("li", { class: "tile" },
      element("a", { href: `#/streams/${encodeURIComponent(streamId)}` },
        element("div", { class: "tile-picture" },
          this.video, this.canvas, this.snapshot, this.message),
        element("div", { class: "tile-caption" },
          element("span", { class: "tile-name" }, streamId), this.detail, this.state)));
    this.root.dataset.streamId = streamId;
  }

  update(stream) {
    this.isPlaced = stream.worker !== null;
    const { name, text, iconName } = streamState(stream);
    this.state.className = `state state-${name}`;
    if (this.state.textContent !== text) fill(this.state, icon(iconName), text);
    const count = stream.object_ids.length;
    setText(this.detail, count === 1 ? "1 object" : `${count} objects`);
    const isLive = name === "live" || name === "paused";
    this.root.classList.toggle("not-live", !isLive);
    setText(this.message, isLive ? "" : stream.detail || stream.reason || text);
  }

  showLive() {
    if (this.#live) return;
    this.snapshot.hidden = true;
    this.#live = new LiveVideo(this.streamId, {
      view: "overlay", video: this.video, canvas: this.canvas, allowJpeg: false,
      onFrame: () => {},
      onMode: (mode) => {
        if (mode === "unavailable") this.mayBeLive = false; // snapshots from the next second on
      },
    });
    this.#live.start();
  }

  showSnapshot() {
    this.#endLive();
    if (this.#isLoading) return;
    this.#isLoading = true;
    this.#asked += 1;
    this.snapshot.src = `${path(this.streamId, "snapshot.jpg")}?view=overlay`
      + `&width=${SNAPSHOT_WIDTH}&at=${Date.now()}-${this.#asked}`;
  }

  hidePicture() {
    this.#endLive();
  }

  /** An event of this stream. */
  flash() {
    this.root.classList.remove("flash");
    requestAnimationFrame(() => this.root.classList.add("flash"));
  }

  close() {
    this.#endLive();
  }

  #endLive() {
    this.#live?.close();
    this.#live = null;
    this.video.hidden = false;
    this.canvas.hidden = true;
  }
}
