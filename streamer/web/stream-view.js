// One stream, large: the picture, its objects, charts and timeline, and what can be done to it.

import { StreamCharts } from "./charts.js";
import { element, fill, icon, setText } from "./dom.js";
import { describeAnswer } from "./events.js";
import { Finding, nameOf } from "./finding.js";
import { GroundPlaneForm } from "./ground-plane.js";
import { homographyOf } from "./homography.js";
import { ObjectList } from "./objects.js";
import { Prompting } from "./prompting.js";
import { Results } from "./results.js";
import { remember, remembered } from "./settings.js";
import { Stage } from "./stage.js";
import { starterState, streamState } from "./stream-state.js";
import { Timeline } from "./timeline.js";

const STATUS_EVERY_MS = 5000;
const LIST_EVERY_MS = 200;
// A restarted daemon may have its streams a moment later.
const MISSING_TWICE = 2;
const SHOWN = [["masks", "Masks", "m"], ["boxes", "Boxes", "x"], ["trails", "Trails", "t"],
  ["speeds", "Speeds", "v"]];

/** A view of one stream; `focus()` after it was put on the page, `close()` before it goes. */
export class StreamView {
  #listedAt = 0;
  #stream = null;
  #missing = 0;

  /**
   * `past` are events from before; `isOwn()` says whether this page publishes the stream, and so
   * will bring it back; `onGone(text)` when there is no such stream.
   */
  constructor(streamId, { api, announcer, mayControl, past, isOwn, onGone }) {
    Object.assign(this, { streamId, api, announcer, mayControl, isOwn, onGone });
    this.stage = new Stage(streamId, {
      onGesture: (gesture, objects) => this.#gesture(gesture, objects),
      onHover: (place) => this.finding.pointAt(place),
      isHidden: (id) => this.objects.isRemoved(id),
      onMode: (mode) => this.#showMode(mode),
    });
    this.objects = new ObjectList({
      onSelect: (id) => this.#select(id),
      onChange: (id, change) => this.#try(() => api.changeObject(streamId, id, change)),
      onRemove: (id) =>
        this.#try(() => api.removeObject(streamId, id, { keepalive: true })),
      offer: (...what) => announcer.offer(...what),
    });
    this.objects.isReadOnly = !mayControl;
    this.prompting = new Prompting(api, streamId, {
      onTrack: (answer, isNew) => this.#showTrack(answer, isNew),
      onPreview: () => this.#showPreview(),
      onSelect: (id) => this.#select(id),
      onPending: (points, isWaiting) => this.stage.setPending(points, isWaiting),
      onMessage: (text, isError) => announcer.say(text, isError ? "bad" : "warning"),
    });
    this.finding = new Finding(api, streamId, {
      onChange: () => this.#showFound(),
      onTrack: (answer) => this.#showTrack(answer, true),
      onMessage: (text, isError) => announcer.say(text, isError ? "bad" : "warning"),
    });
    this.prompting.previewFirst = remembered("previewFirst", false);
    Object.assign(this.stage.show, remembered("show", {}));
    this.charts = new StreamCharts();
    this.timeline = new Timeline();
    this.ground = new GroundPlaneForm({
      onSave: (pairs) => this.#saveGroundPlane(pairs),
      onChange: () => {
        this.stage.markers = this.ground.isOpen ? this.ground.points : [];
        this.stage.redraw();
      },
    });
    this.root = this.#build();
    this.results = new Results(streamId, {
      onFrame: (frame) => this.#onFrame(frame),
      onStatus: (status) => this.#onStatus({ ...this.#stream, ...status }),
      onConnected: (isConnected) => {
        this.stage.root.classList.toggle("stale", !isConnected);
        if (isConnected) this.#refresh();
      },
    });
    this.stage.start();
    this.results.start();
    this.timer = setInterval(() => this.#refresh(), STATUS_EVERY_MS);
    this.keys = (event) => this.#key(event);
    document.addEventListener("keydown", this.keys);
    for (const event of past) if (event.stream_id === streamId) this.timeline.addEvent(event);
    this.#refresh();
    this.#loadObjects();
    this.#select(null);
  }

  focus() {
    this.stage.root.focus({ preventScroll: true, focusVisible: false });
  }

  close() {
    this.finding.close();
    this.objects.finishRemoving();
    clearInterval(this.timer);
    document.removeEventListener("keydown", this.keys);
    this.results.close();
    this.stage.close();
    this.charts.close();
    this.timeline.close();
  }

  /** An event of any stream. */
  onEvent(event) {
    if (event.stream_id !== this.streamId) return;
    this.timeline.addEvent(event);
    if (event.kind.startsWith("stream_")) this.#refresh();
    if (event.kind === "removed" && this.prompting.selectedId === event.object_id) {
      this.#select(null);
    }
  }

  // The page's parts.

  #build() {
    this.target = element("span", { class: "target", role: "status" });
    this.newButton = element("button", {
      type: "button", class: "small", onclick: () => this.#select(null),
    }, icon("add"), "New object");
    const preview = element("input", {
      type: "checkbox", role: "switch", id: "preview-first",
      onchange: () => this.#setPreviewFirst(preview.checked),
    });
    preview.checked = this.prompting.previewFirst;
    this.previewSwitch = preview;
    this.toggles = new Map(SHOWN.map(([name, title, key]) => [name, element("button", {
      type: "button", class: "small toggle", "aria-pressed": String(this.stage.show[name]),
      title: `${title} (${key.toUpperCase()})`, onclick: () => this.#toggle(name),
    }, title)]));
    this.findButton = element("button", {
      type: "button", class: "small", title: "Outline everything in the picture (F)",
      onclick: () => this.#find(),
    }, icon("find"), "What is there?");
    this.foundText = element("span", { role: "status" });
    this.foundButtons = [
      ["Previous", () => this.finding.step(-1)], ["Next", () => this.finding.step(1)],
      ["Track", () => this.finding.track()], ["Done", () => this.finding.close()],
    ].map(([text, onclick]) => element("button", { type: "button", onclick }, text));
    this.foundButtons[2].classList.add("primary");
    this.state = element("span", { class: "state" });
    this.facts = element("span", { class: "quiet" });
    this.starter = element("span", { class: "quiet" });
    this.pauseButton = element("button", {
      type: "button", class: "small", disabled: !this.mayControl, onclick: () => this.#pause(),
    });
    const pointingTools = this.mayControl ? element("div", { class: "tool-group" },
      this.target, this.newButton, this.findButton,
      element("label", { class: "switch" }, preview, element("span", {}, "Preview first"))) : null;
    const streamTools = this.mayControl ? element("div", { class: "tool-group" },
      this.pauseButton,
      element("button", {
        type: "button", class: "small", title: "Speeds in metres per second",
        onclick: () => this.#openGround(),
      }, icon("ruler"), "Metres"),
      element("button", {
        type: "button", class: "small danger", onclick: () => this.#removeStream(),
      }, icon("remove"), "Remove stream")) : null;
    return element("main", { class: "stream-view", tabindex: "-1" },
      element("header", { class: "view-header" },
        element("a", { href: "#/", class: "back" }, icon("back"), "All streams"),
        element("h1", {}, this.streamId), this.state, this.facts, this.starter,
        element("span", { class: "spacer" }), streamTools),
      element("div", { class: "stream-grid" },
        element("div", { class: "stream-main" },
          this.stage.root,
          element("div", { class: "toolbar", role: "toolbar", "aria-label": "Picture" },
            pointingTools,
            element("div", { class: "tool-group", role: "group", "aria-label": "Show" },
              ...this.toggles.values())),
          this.charts.root),
        element("div", { class: "stream-side" }, this.ground.root, this.objects.root, this.timeline.root)));
  }

  // Messages from the daemon.

  #onFrame(frame) {
    this.stage.addFrame(frame);
    this.charts.add(frame);
    this.timeline.addFrame(frame);
    const now = performance.now();
    if (now - this.#listedAt < LIST_EVERY_MS) return;
    this.#listedAt = now;
    this.objects.update(frame.objects, this.stage.speeds);
  }

  #onStatus(stream) {
    this.#stream = stream;
    const { name, text, iconName } = streamState(stream);
    this.state.className = `state state-${name}`;
    fill(this.state, icon(iconName), text);
    const size = stream.width && stream.height ? `${stream.width} × ${stream.height}` : "";
    setText(this.facts, size);
    const starter = starterState(stream);
    setText(this.starter, starter.text);
    this.starter.title = starter.hint;
    const isLive = name === "live";
    this.stage.root.classList.toggle("not-live", !isLive);
    this.stage.say(isLive ? "" : [text, stream.detail || stream.reason].filter(Boolean).join(": "));
    fill(this.pauseButton, icon(stream.paused ? "resume" : "paused"),
      stream.paused ? "Resume" : "Pause");
    this.stage.homography = homographyOf(stream.ground_plane ?? []);
  }

  async #refresh() {
    try {
      this.#onStatus(await this.api.stream(this.streamId));
      this.#missing = 0;
    } catch (error) {
      if (error.status !== 404) return;
      this.#missing += 1;
      const text = `There is no stream ${this.streamId}.`;
      this.stage.say(text);
      if (this.#missing >= MISSING_TWICE && !this.isOwn()) this.onGone(text);
    }
  }

  /** Fetch the tracked objects: a paused stream sends no results. */
  async #loadObjects() {
    try {
      const objects = await this.api.objects(this.streamId);
      if (!this.#listedAt) {
        this.objects.update(objects);
      }
    } catch {
      // The results follow.
    }
  }

  #showMode(mode) {
    const words = { connecting: "connecting", webrtc: "WebRTC", mjpeg: "JPEG" };
    const hint = mode === "mjpeg" ? "WebRTC does not pass here; pictures are sent over HTTP" : "";
    fill(this.stage.corner, element("span", { class: "badge", title: hint }, words[mode]));
  }

  // User actions.

  #gesture(gesture, objects) {
    if (!this.mayControl) {
      this.announcer.say("Your token may look, not change anything.", "warning");
    } else if (this.ground.isOpen) {
      if (gesture.points) this.ground.addPoint(gesture.points[0]);
    } else if (this.finding.segments.length && gesture.points) {
      this.finding.pointAt(gesture.points[0]);
      this.finding.track();
    } else {
      this.finding.close();
      this.prompting.gesture(gesture, objects);
    }
  }

  #showTrack(answer, isNew) {
    this.stage.showAnswer(answer);
    const label = this.stage.objects().find(({ id }) => id === answer.object_id)?.label;
    const { text, tone } = describeAnswer(answer, isNew, label);
    this.announcer.say(text, tone);
  }

  #find() {
    if (this.finding.isSearching) return;
    this.prompting.cancel();
    this.#select(null);
    this.stage.unfreeze();
    this.stage.freeze(); // what is found is of this moment
    this.stage.root.focus({ preventScroll: true });
    this.finding.search(this.stage.moment());
  }

  #showFound() {
    const { finding, stage } = this;
    if (!finding.isOpen && stage.isFrozen) stage.unfreeze();
    stage.segments = finding.segments;
    stage.pointed = finding.pointed;
    this.findButton.disabled = finding.isSearching;
    const { pointed, segments } = finding;
    if (finding.isSearching) setText(this.foundText, "Looking at everything …");
    else if (pointed) setText(this.foundText, nameOf(pointed, segments));
    else setText(this.foundText, `${segments.length} found. Point at one and click to track it.`);
    const [previous, next, track] = this.foundButtons;
    previous.disabled = next.disabled = finding.isSearching;
    track.disabled = !pointed;
    // Not filled again while it is open: the button in focus would lose it.
    if (!finding.isOpen) stage.setBar();
    else if (!this.foundText.isConnected) stage.setBar(this.foundText, ...this.foundButtons);
    stage.redraw();
  }

  #showPreview() {
    const { prompting, stage } = this;
    if (prompting.isPreviewing && !stage.isFrozen) stage.freeze();
    if (!prompting.isPreviewing && stage.isFrozen) stage.unfreeze();
    stage.preview = prompting.preview;
    stage.previewPoints = prompting.points;
    if (prompting.isPreviewing) {
      stage.setBar(
        element("span", {}, prompting.preview
          ? "Preview of this moment. Click again to refine." : "Looking …"),
        element("button", {
          type: "button", class: "primary", disabled: !prompting.preview,
          onclick: () => prompting.keep(),
        }, icon("check"), "Keep"),
        element("button", { type: "button", onclick: () => prompting.cancel() }, "Cancel"));
    } else {
      stage.setBar();
    }
    stage.redraw();
  }

  #select(id) {
    this.prompting.selectedId = id;
    this.stage.selectedId = id;
    this.objects.select(id);
    if (this.target) {
      setText(this.target, id === null ? "Click tracks a new object" : `Click corrects object ${id}`);
      this.newButton.hidden = id === null;
    }
    this.stage.redraw();
  }

  #setPreviewFirst(isOn) {
    this.prompting.previewFirst = isOn;
    this.previewSwitch.checked = isOn;
    remember("previewFirst", isOn);
  }

  #toggle(name) {
    const { show } = this.stage;
    show[name] = !show[name];
    this.toggles.get(name).setAttribute("aria-pressed", String(show[name]));
    remember("show", show);
    this.stage.redraw();
  }

  async #pause() {
    const isPaused = this.#stream?.paused;
    await this.#try(() =>
      (isPaused ? this.api.resume(this.streamId) : this.api.pause(this.streamId)));
    await this.#refresh();
  }

  #openGround() {
    this.prompting.cancel();
    this.ground.open(this.#stream?.ground_plane ?? []);
  }

  async #saveGroundPlane(pairs) {
    await this.api.changeStream(this.streamId, { ground_plane: pairs });
    await this.#refresh();
    this.announcer.say(pairs.length ? "Speeds are now in m/s." : "Speeds are now in px/s.");
  }

  #removeStream() {
    if (!window.confirm(`Remove the stream ${this.streamId} and its objects?`)) return;
    this.#try(async () => {
      await this.api.removeStream(this.streamId);
      this.onGone(`The stream ${this.streamId} was removed.`);
    });
  }

  async #try(action) {
    try {
      await action();
    } catch (error) {
      this.announcer.say(error.message, "bad");
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) {
      return;
    }
    if (event.key === "Escape") {
      const isCancelled = this.finding.close() || this.prompting.cancel()
        || this.stage.pointing.cancel();
      if (!isCancelled) this.#select(null);
      return;
    }
    const isTyping = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (isTyping) return;
    if (event.key === "Enter" && this.finding.pointed && !event.target.closest("button, a")) {
      this.finding.track();
      return;
    }
    if (event.key === "Enter" && this.prompting.preview && !event.target.closest("button, a")) {
      this.prompting.keep();
      return;
    }
    const key = event.key.toLowerCase();
    const shown = SHOWN.find(([, , letter]) => letter === key);
    const id = this.prompting.selectedId;
    if (shown) this.#toggle(shown[0]);
    else if (key === "n") this.#select(null);
    else if (key === "f" && this.mayControl) this.#find();
    else if (key === "p" && this.mayControl) this.#setPreviewFirst(!this.prompting.previewFirst);
    else if (key === "r" && id !== null && this.mayControl) this.objects.rename(id);
    else if (key === "delete" && id !== null) this.objects.remove(id);
    else if (/^[1-9]$/.test(key) && this.objects.ids.includes(Number(key))) this.#select(Number(key));
    else return;
    event.preventDefault();
  }
}
