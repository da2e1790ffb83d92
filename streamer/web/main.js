// The page: which daemon, which view, and the header around it. Read first.

import { AddStreamDialog } from "./add-stream.js";
import { Announcer } from "./announcer.js";
import { Api } from "./api.js";
import { Backoff } from "./backoff.js";
import { CameraDialog, CameraPublisher } from "./camera.js";
import { fill, icon } from "./dom.js";
import { EVENTS_KEPT, EventFeed, describeEvent, eventTone } from "./events.js";
import { FleetView } from "./fleet-view.js";
import { Help } from "./help.js";
import { LoginView } from "./login.js";
import { StreamView } from "./stream-view.js";
import { setUpTheme } from "./theme.js";
import { WallView } from "./wall.js";

const TOLD = [
  "lost", "reacquired", "stream_down", "stream_up", "degraded",
  "stream_moved", "stream_waiting", "worker_lost", "worker_ready",
];

class Page {
  #view = null;
  #info = null;
  #isFirstView = true;
  #past = []; // events for views that are opened later; bound: EVENTS_KEPT, the oldest is dropped
  #backoff = new Backoff();

  constructor() {
    this.holder = document.getElementById("view");
    this.banner = document.getElementById("banner");
    this.announcer = new Announcer(document.getElementById("notes"));
    this.api = new Api({ onUnauthorised: () => this.#showLogin() });
    this.help = new Help();
    this.addStream = new AddStreamDialog(this.api, { onAdded: openStream });
    this.camera = new CameraPublisher({ onState: (state) => this.#showCamera(state) });
    this.cameraDialog = new CameraDialog(this.camera, { onStarted: openStream });
    this.events = new EventFeed({
      onEvent: (event, isPast) => this.#onEvent(event, isPast),
      onMissed: () => this.announcer.say("Some events were missed.", "warning"),
      onConnected: (isConnected) => this.#onConnected(isConnected),
    });
    this.#setUpHeader();
    window.addEventListener("hashchange", () => this.#info && this.#route());
    document.addEventListener("keydown", (event) => this.#key(event));
    // End sessions at the daemon; a page restored from the browser's cache starts over.
    window.addEventListener("pagehide", () => this.#view?.close());
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload();
    });
  }

  /** Fetch the daemon's info and our scopes, retrying until it answers; then show the view. */
  async start() {
    try {
      this.#info = await this.api.info();
    } catch (error) {
      if (error.status === 401) return; // the login is shown
      if (error.status === 403) this.#showLogin("This token has no permission to view anything.");
      else this.#tryAgain();
      return;
    }
    this.#backoff.reset();
    this.#showInfo();
    this.events.start();
    this.#route();
  }

  #tryAgain() {
    this.#onConnected(false);
    setTimeout(() => this.start(), this.#backoff.delay());
  }

  /** Whether this is a fleet's gateway, for a client that may see all streams. */
  #hasFleet() {
    return Boolean(this.#info.fleet) && this.#info.streams === null;
  }

  #may(scope) {
    return this.#info.scopes.includes(scope);
  }

  #route() {
    const stream = /^#\/streams\/(.+)$/.exec(location.hash);
    const common = {
      api: this.api, announcer: this.announcer, mayControl: this.#may("control"),
    };
    if (stream) {
      const streamId = decodeURIComponent(stream[1]);
      this.#show(new StreamView(streamId, {
        ...common,
        past: this.#past,
        isOwn: () => this.camera.streamId === streamId,
        onGone: (text) => {
          this.announcer.say(text, "warning");
          location.hash = "#/";
        },
      }));
    } else if (location.hash === "#/fleet" && this.#hasFleet()) {
      this.#show(new FleetView(common));
    } else {
      // A daemon with a single stream opens on that stream.
      const onFirstList = this.#isFirstView && location.hash === "" ? (streams) => {
        if (streams.length === 1) openStream(streams[0].id, { replace: true });
      } : null;
      this.#show(new WallView({ ...common, onFirstList, onAddStream: () => this.addStream.open() }));
    }
    this.#isFirstView = false;
  }

  #show(view) {
    this.#view?.close();
    this.#view = view;
    fill(this.holder, view.root);
    view.focus();
  }

  #showLogin(why = "") {
    if (why) this.announcer.say(why, "bad");
    if (this.#view instanceof LoginView) return;
    this.events.close();
    this.#info = null;
    this.#onConnected(true);
    this.#show(new LoginView(this.api, { onLogin: () => this.start() }));
  }

  #onConnected(isConnected) {
    const isBack = isConnected && !this.banner.hidden;
    this.banner.hidden = isConnected;
    // A daemon that returns may be another version, or require another token.
    if (isBack && this.#info !== null) this.#askAgain();
  }

  async #askAgain() {
    try {
      this.#info = await this.api.info();
      this.#showInfo();
    } catch {
      // A 401 has shown the login; other errors appear again where they matter.
    }
  }

  #onEvent(event, isPast) {
    this.#past.push(event);
    if (this.#past.length > EVENTS_KEPT) this.#past.shift();
    this.#view?.onEvent?.(event);
    if (isPast || !TOLD.includes(event.kind)) return;
    const about = event.stream_id || event.detail; // a worker has no stream
    this.announcer.say(`${about}: ${describeEvent(event)}`, eventTone(event));
  }

  // The header.

  #setUpHeader() {
    document.getElementById("skip").addEventListener("click", () => this.#view?.focus());
    const button = (id, iconName) => {
      const found = document.getElementById(id);
      found.prepend(icon(iconName));
      return found;
    };
    setUpTheme(button("theme", "theme"));
    button("help", "help").addEventListener("click", () => this.help.open());
    this.cameraButton = button("camera", "camera");
    this.cameraButton.addEventListener("click", () => {
      if (this.camera.streamId !== null) this.camera.stop();
      else this.cameraDialog.open();
    });
    this.logout = button("logout", "logout");
    this.logout.addEventListener("click", async () => {
      await this.api.logout();
      this.#showLogin();
    });
  }

  #showInfo() {
    const { model, device, version } = this.#info;
    document.getElementById("about").textContent = [version, model, device].filter(Boolean).join(" · ");
    document.getElementById("fleet").hidden = !this.#hasFleet();
    this.logout.hidden = this.#info.open !== false;
    this.cameraButton.hidden = !this.#may("publish");
  }

  #showCamera({ state, streamId, message }) {
    const words = {
      idle: "Use this device's camera",
      connecting: `Camera: connecting (${streamId})`,
      live: `Camera is live (${streamId}): stop`,
    };
    this.cameraButton.classList.toggle("on-air", state !== "idle");
    this.cameraButton.querySelector("span").textContent = words[state];
    this.cameraButton.title = words[state];
    if (message) this.announcer.say(message, "bad");
  }

  #key(event) {
    const isTyping = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") this.help.open();
    else if (event.key.toLowerCase() === "w" && !document.querySelector("dialog[open]")) {
      location.hash = "#/";
    }
  }
}

function openStream(streamId, { replace = false } = {}) {
  const target = `#/streams/${encodeURIComponent(streamId)}`;
  if (replace) location.replace(target);
  else location.hash = target;
}

new Page().start();
