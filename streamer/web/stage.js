// The picture of a stream with everything drawn over it, in step.

import { element, fill, setText } from "./dom.js";
import { FrameStore } from "./frame-store.js";
import { LiveVideo } from "./live-video.js";
import { Overlay } from "./overlay.js";
import { objectColour } from "./palette.js";
import { Pointing } from "./pointing.js";
import { Trails } from "./trails.js";

const TRAIL_SHOWN_MS = 4000;
// A prompt's answer is drawn until the results hold it, at most this long: the object may be
// lost on the very next frame.
const ANSWER_SHOWN_MS = 3000;

/**
 * Video, overlay and pointing of one stream. `onGesture(gesture, objects)` gets a gesture
 * and the objects of the frame it was made on, `onHover(place)` where the pointer or the
 * crosshair is, null outside; `isHidden(id)` leaves objects out.
 */
export class Stage {
  #frames = new FrameStore();
  #trails = new Trails();
  #answers = new Map(); // id -> {object, frameIndex, until}
  #pending = [];
  #isDrawing = false;
  #sessionId = null;

  shown = null;
  speeds = new Map();
  homography = null;
  selectedId = null;
  preview = null;
  previewPoints = [];
  segments = []; // of a search
  pointed = null; // one of them
  markers = []; // numbered points of a calibration
  show = { masks: true, boxes: false, trails: true, speeds: true };

  constructor(streamId, { onGesture, onHover, isHidden, onMode }) {
    this.isHidden = isHidden;
    this.video = element("video", {
      playsinline: true, autoplay: true, tabindex: "-1", disablepictureinpicture: true,
    });
    this.video.muted = true;
    this.jpeg = element("canvas", { class: "stage-picture", hidden: true });
    this.still = element("canvas", { class: "stage-picture stage-still", hidden: true });
    const canvas = element("canvas", { class: "stage-overlay" });
    this.message = element("p", { class: "stage-message", role: "status" });
    this.corner = element("div", { class: "stage-corner" });
    this.bar = element("div", { class: "stage-bar", hidden: true });
    this.root = element("div", {
      class: "stage", tabindex: "0", role: "application", id: "stage",
      "aria-label": `Live picture of ${streamId}. Arrow keys move a crosshair, Enter tracks what `
        + "is under it, question mark explains the rest.",
    }, this.video, this.jpeg, this.still, canvas, this.message, this.corner, this.bar);
    this.overlay = new Overlay(canvas);
    this.pointing = new Pointing(this.root, {
      overlay: this.overlay,
      moment: () => this.moment(),
      onGesture: (gesture) => onGesture(gesture, this.objects()),
      onChange: () => this.redraw(),
      onHover,
    });
    this.live = new LiveVideo(streamId, {
      view: "clean", video: this.video, canvas: this.jpeg, onMode,
      onFrame: (picture) => this.#onPicture(picture),
    });
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.root);
  }

  start() {
    this.live.start();
  }

  close() {
    this.resized.disconnect();
    this.live.close();
  }

  /** A result arrived. */
  addFrame(frame) {
    if (frame.session_id !== this.#sessionId) {
      this.#sessionId = frame.session_id;
      this.#frames.clear();
    }
    this.#frames.add(frame);
    this.#trails.add(frame);
    this.live.noteResult();
    this.overlay.setFrameSize(frame.width, frame.height);
    // Pictures without a frame index are drawn with the newest result.
    if (this.live.mode === "connecting" || !this.shown || !this.video.requestVideoFrameCallback) {
      this.#showFrame(frame, false);
    }
  }

  /** Draw a prompt's answer at once, until the results hold it. */
  showAnswer(answer) {
    const { track, frame_index: frameIndex } =
      answer.latest?.track ? answer.latest : { track: answer.track, ...answer };
    const object = { ...track, id: track.object_id };
    this.#answers.set(object.id, {
      object, frameIndex, until: performance.now() + ANSWER_SHOWN_MS,
    });
    this.redraw();
  }

  /** Points whose prompt is in flight. */
  setPending(points, isWaiting) {
    this.#pending = isWaiting
      ? [...this.#pending, ...points] : this.#pending.filter((point) => !points.includes(point));
    this.redraw();
  }

  /** Freeze the picture: a preview refers to this frame, however long it takes. */
  freeze() {
    const picture = this.live.mode === "mjpeg" ? this.jpeg : this.video;
    this.still.width = picture.videoWidth ?? picture.width;
    this.still.height = picture.videoHeight ?? picture.height;
    if (this.still.width) this.still.getContext("2d").drawImage(picture, 0, 0);
    this.still.hidden = false;
    this.root.classList.add("frozen");
  }

  unfreeze() {
    this.still.hidden = true;
    this.root.classList.remove("frozen");
  }

  get isFrozen() {
    return !this.still.hidden;
  }

  /** The objects as they are drawn: of the frame shown, with answers that arrived meanwhile. */
  objects() {
    const objects = new Map((this.shown?.objects ?? []).map((object) => [object.id, object]));
    for (const { object } of this.#answers.values()) {
      objects.set(object.id, { ...objects.get(object.id), ...object });
    }
    return [...objects.values()].filter((object) => !this.isHidden(object.id));
  }

  /** A message over the picture, or none. */
  say(text) {
    setText(this.message, text);
    this.message.hidden = !text;
  }

  /** Put buttons and words under the picture's lower edge, or take them away. */
  setBar(...children) {
    fill(this.bar, ...children);
    this.bar.hidden = children.length === 0;
  }

  redraw() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#draw();
    });
  }

  #onPicture({ rtpTime, frameIndex }) {
    let frame = null;
    if (rtpTime !== null) frame = this.#frames.at(rtpTime);
    else if (frameIndex !== null) frame = this.#frames.withIndex(frameIndex);
    const newest = this.#frames.newest;
    if (frame ?? newest) this.#showFrame(frame ?? newest, frame !== null);
  }

  #showFrame(frame, isInStep) {
    if (this.isFrozen) return;
    this.shown = frame;
    const now = performance.now();
    for (const [id, answer] of this.#answers) {
      const isHeld = frame.frame_index > answer.frameIndex
        && frame.objects.some((object) => object.id === id);
      if (isHeld || now > answer.until) this.#answers.delete(id);
    }
    this.speeds = new Map(frame.objects.map(({ id }) =>
      [id, this.#trails.speed(id, frame.capture_time_ms, this.homography)]));
    this.root.dataset.frameIndex = String(frame.frame_index);
    this.root.dataset.inStep = String(isInStep);
    this.redraw();
  }

  /** The name of the frame shown, for a request that refers to it; null before there is one. */
  moment() {
    if (!this.shown) return null;
    return { frame_index: this.shown.frame_index, session_id: this.shown.session_id };
  }

  #draw() {
    const objects = this.objects();
    const time = this.shown?.capture_time_ms ?? 0;
    this.overlay.draw({
      objects,
      selectedId: this.selectedId,
      preview: this.preview && {
        track: this.preview.track,
        colour: this.preview.objectId === null
          ? "#ffffff" : objectColour(this.preview.objectId, this.#colourOf(this.preview.objectId)),
      },
      segments: this.segments,
      pointed: this.pointed,
      points: [...this.previewPoints, ...this.markers],
      draft: this.pointing.draft,
      crosshair: this.pointing.crosshair,
      pulses: this.#pending,
      show: this.show,
      trails: objects.map(({ id, colour }) => ({
        id, colour, places: this.#trails.upTo(id, time, TRAIL_SHOWN_MS),
      })),
      speeds: this.speeds,
    });
  }

  #colourOf(id) {
    return this.shown?.objects.find((object) => object.id === id)?.colour;
  }
}
