// "Use this device's camera": publishes it by WHIP, and reconnects after a daemon restart.

import { path } from "./api.js";
import { Backoff } from "./backoff.js";
import { element, fill, icon } from "./dom.js";
import { endSession, exchangeOffer } from "./signalling.js";

const CONNECT_MS = 8000;
const LARGEST_BITRATE = 2_500_000;
const REFUSED_FOR_GOOD = [400, 401, 403, 404, 409, 422];

/** Why the camera cannot be used here, as text; null if it can. */
export function cameraObstacle(isSecure, hasCamera, location) {
  if (!isSecure) {
    return `This page was loaded over plain HTTP (${location.host}), and browsers give their camera to `
      + "secure pages only. Start the daemon with api.self_signed=true (or with your own "
      + `api.tls_certificate and api.tls_key), then open https://${location.host}/. On the `
      + "daemon's own machine http://localhost works too.";
  }
  if (!hasCamera) return "This browser gives pages no camera access.";
  return null;
}

/** One published camera. `onState({state, streamId, message})`: idle, connecting, live. */
export class CameraPublisher {
  #media = null;
  #peer = null;
  #session = null;
  #timer = 0;
  #backoff = new Backoff();

  streamId = null;

  constructor({ onState }) {
    this.onState = onState;
    window.addEventListener("pagehide", () => this.stop());
  }

  /** Ask for the camera and publish it. Throws the browser's error if it refuses. */
  async start(streamId, deviceId = null) {
    this.stop();
    this.#media = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: {
        width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 },
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
      },
    });
    this.streamId = streamId;
    const [track] = this.#media.getVideoTracks();
    track.contentHint = "motion";
    track.onended = () => this.stop("The camera was disconnected.");
    await this.#publish();
  }

  /** Stop: ends the session at the daemon and releases the camera. */
  stop(message = "") {
    if (this.streamId === null) return;
    this.#disconnect();
    for (const track of this.#media.getTracks()) track.stop();
    this.#media = null;
    this.streamId = null;
    this.onState({ state: "idle", streamId: null, message });
  }

  #disconnect() {
    clearTimeout(this.#timer);
    if (this.#session) endSession(this.#session, this.#peer);
    else this.#peer?.close();
    this.#session = null;
    this.#peer = null;
  }

  async #publish() {
    this.#disconnect();
    const peer = new RTCPeerConnection();
    this.#peer = peer;
    this.onState({ state: "connecting", streamId: this.streamId, message: "" });
    const [track] = this.#media.getVideoTracks();
    const { sender } = peer.addTransceiver(track, {
      direction: "sendonly", sendEncodings: [{ maxBitrate: LARGEST_BITRATE }],
    });
    peer.onconnectionstatechange = () => {
      if (peer !== this.#peer) return;
      if (peer.connectionState === "connected") {
        clearTimeout(this.#timer);
        this.#backoff.reset();
        this.onState({ state: "live", streamId: this.streamId, message: "" });
      }
      if (["failed", "closed"].includes(peer.connectionState)) this.#again();
    };
    try {
      const { session } = await exchangeOffer(peer, path(this.streamId, "whip"));
      if (peer !== this.#peer) return endSession(session);
      this.#session = session;
      await keepResolution(sender);
      this.#timer = setTimeout(() => this.#again(), CONNECT_MS);
    } catch (error) {
      if (peer !== this.#peer) return undefined;
      if (REFUSED_FOR_GOOD.includes(error.status)) this.stop(error.message);
      else this.#again();
    }
    return undefined;
  }

  #again() {
    this.#disconnect();
    this.onState({ state: "connecting", streamId: this.streamId, message: "" });
    this.#timer = setTimeout(() => this.#publish(), this.#backoff.delay());
  }
}

/** Prefer fewer frames over smaller ones: the tracker's coordinates are those of the picture. */
async function keepResolution(sender) {
  const parameters = sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  await sender.setParameters(parameters).catch(() => {}); // not supported by every browser
}

/** The dialog that names the stream and chooses the camera; `onStarted(streamId)`. */
export class CameraDialog {
  constructor(publisher, { onStarted }) {
    this.publisher = publisher;
    this.onStarted = onStarted;
    this.dialog = element("dialog", { class: "dialog", "aria-labelledby": "camera-title" });
    document.body.append(this.dialog);
  }

  async open() {
    const obstacle = cameraObstacle(
      window.isSecureContext, Boolean(navigator.mediaDevices?.getUserMedia), location);
    const title = element("h2", { id: "camera-title" }, "Use this device's camera");
    const close = element("button", { type: "button", onclick: () => this.dialog.close() }, "Close");
    if (obstacle) {
      fill(this.dialog, title, element("p", {}, obstacle), element("div", { class: "buttons" }, close));
      this.dialog.showModal();
      return;
    }
    const name = element("input", {
      type: "text", id: "camera-name", value: "camera", required: true, maxlength: "64",
      pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]*", autocomplete: "off",
      title: "letters, digits, '-' or '_', beginning with a letter or digit",
    });
    const device = element("select", { id: "camera-device" });
    const message = element("p", { class: "error", role: "alert" });
    const start = element("button", { type: "submit", class: "primary" }, icon("camera"), "Start");
    fill(this.dialog, element("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        start.disabled = true;
        try {
          await this.publisher.start(name.value, device.value || null);
          this.dialog.close();
          if (this.publisher.streamId) this.onStarted(name.value);
        } catch (error) {
          fill(message, cameraRefusal(error));
        }
        start.disabled = false;
      },
    }, title,
    element("p", {}, "The video is sent to this daemon only, until you stop it or close the page."),
    element("label", { for: "camera-name" }, "Name of the stream"), name,
    element("label", { for: "camera-device" }, "Camera"), device, message,
    element("div", { class: "buttons" }, start, close)));
    this.dialog.showModal();
    await listCameras(device);
  }
}

async function listCameras(select) {
  const devices = await navigator.mediaDevices.enumerateDevices();
  const cameras = devices.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
  fill(select, element("option", { value: "" }, "Default camera"),
    ...cameras.map(({ deviceId, label }, index) =>
      element("option", { value: deviceId }, label || `Camera ${index + 1}`)));
}

function cameraRefusal(error) {
  if (error.name === "NotAllowedError") return "The browser has no permission to use the camera.";
  if (error.name === "NotFoundError") return "This device has no camera.";
  if (error.name === "NotReadableError") return "The camera is in use by another program.";
  return error.message;
}
