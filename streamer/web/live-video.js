// The live picture of a stream: WHEP where WebRTC passes, JPEG pictures where it does not.

import { path, refusal, send } from "./api.js";
import { Backoff } from "./backoff.js";
import { resultRtpTime } from "./frame-store.js";
import { MultipartReader, boundaryOf } from "./multipart.js";
import { endSession, exchangeOffer } from "./signalling.js";

const CONNECT_MS = 6000;
const FAILURES = 2;
const WEBRTC_AGAIN_MS = 60_000;
// Results that arrive while the video stands still mean that its packets are lost on the way.
const RESULTS_WITHOUT_VIDEO = 25;
const STILL_MS = 5000;
// Errors that JPEG would meet too: retried, not worked around.
const REFUSED_FOR_GOOD = [401, 403, 404];

/**
 * Shows a stream in `video` or, as JPEG, on `canvas`, and reconnects until `close`.
 *
 * `onFrame({rtpTime, frameIndex})` is called for each picture as it is shown; an unknown value is
 * null. `onMode(mode)` is one of "connecting", "webrtc", "mjpeg"; without `allowJpeg`
 * it is "unavailable" where WebRTC does not pass: a browser has only six connections to one
 * daemon, for endless pictures and everything else.
 */
export class LiveVideo {
  #isOpen = false;
  #mode = "";
  #peer = null;
  #session = null;
  #abort = null;
  #timers = new Set();
  #backoff = new Backoff();
  #rtpOffset = null;
  #shownAt = 0;
  #resultsSince = 0;
  #webrtcFailures = 0;

  constructor(streamId, { view, video, canvas, onFrame, onMode, allowJpeg = true }) {
    this.allowJpeg = allowJpeg;
    this.streamId = streamId;
    this.view = view;
    this.video = video;
    this.canvas = canvas;
    this.onFrame = onFrame;
    this.onMode = onMode;
  }

  start() {
    this.#isOpen = true;
    this.#connect();
  }

  close() {
    this.#isOpen = false;
    this.#disconnect();
  }

  get mode() {
    return this.#mode;
  }

  /** A result arrived; if its video does not, this connection is dropped. */
  noteResult() {
    this.#resultsSince += 1;
    if (this.#mode !== "webrtc" || document.hidden) return;
    const isStill = performance.now() - this.#shownAt > STILL_MS;
    if (isStill && this.#resultsSince > RESULTS_WITHOUT_VIDEO) this.#webrtcFailed();
  }

  #connect() {
    if (!this.#isOpen) return;
    this.#disconnect();
    this.#setMode("connecting");
    this.#shownAt = performance.now();
    this.#resultsSince = 0;
    const isPassing = window.RTCPeerConnection && this.#webrtcFailures < FAILURES;
    if (isPassing) this.#showWebrtc();
    else if (this.allowJpeg) this.#showJpegs();
    else this.#setMode("unavailable");
  }

  #disconnect() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#abort?.abort();
    this.#abort = null;
    if (this.#session) endSession(this.#session, this.#peer);
    else this.#peer?.close();
    this.#session = null;
    this.#peer = null;
    this.#rtpOffset = null;
    this.video.srcObject = null;
  }

  #setMode(mode) {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.video.hidden = mode === "mjpeg";
    this.canvas.hidden = mode !== "mjpeg";
    this.onMode(mode);
  }

  #after(milliseconds, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }

  // WebRTC.

  async #showWebrtc() {
    const peer = new RTCPeerConnection();
    this.#peer = peer;
    const { receiver } = peer.addTransceiver("video", { direction: "recvonly" });
    // Low delay rather than smooth playback.
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    peer.onconnectionstatechange = () => {
      if (peer !== this.#peer) return;
      if (peer.connectionState === "connected") this.#webrtcConnected(receiver.track);
      if (["failed", "closed"].includes(peer.connectionState)) this.#webrtcFailed();
    };
    try {
      const url = `${path(this.streamId, "whep")}?view=${this.view}`;
      const { session, headers } = await exchangeOffer(peer, url);
      if (peer !== this.#peer) {
        endSession(session);
        return;
      }
      this.#session = session;
      const offset = headers.get("Masklet-RTP-Offset");
      this.#rtpOffset = offset === null ? null : Number(offset);
      this.#after(CONNECT_MS, () => {
        if (peer.connectionState !== "connected") this.#webrtcFailed();
      });
    } catch (error) {
      if (peer !== this.#peer) return;
      if (error.status === 0 || REFUSED_FOR_GOOD.includes(error.status)) this.#again();
      else this.#webrtcFailed();
    }
  }

  #webrtcConnected(track) {
    this.#backoff.reset();
    this.#shownAt = performance.now();
    this.#resultsSince = 0;
    this.video.srcObject = new MediaStream([track]);
    this.video.play().catch(() => {}); // muted video: refused only while the page closes
    this.#setMode("webrtc");
    this.#watchFrames(this.#peer);
  }

  #watchFrames(peer) {
    if (!this.video.requestVideoFrameCallback) return;
    this.video.requestVideoFrameCallback((now, metadata) => {
      if (peer !== this.#peer) return;
      this.#shownAt = performance.now();
      this.#resultsSince = 0;
      this.#webrtcFailures = 0;
      const isKnown = this.#rtpOffset !== null && metadata.rtpTimestamp !== undefined;
      this.onFrame({
        rtpTime: isKnown ? resultRtpTime(metadata.rtpTimestamp, this.#rtpOffset) : null,
        frameIndex: null,
      });
      this.#watchFrames(peer);
    });
  }

  #webrtcFailed() {
    this.#webrtcFailures += 1;
    this.#again();
  }

  #again() {
    this.#disconnect();
    if (!this.#isOpen) return;
    this.#setMode("connecting");
    this.#after(this.#backoff.delay(), () => this.#connect());
  }

  // JPEG pictures over HTTP.

  async #showJpegs() {
    const abort = new AbortController();
    this.#abort = abort;
    this.#after(WEBRTC_AGAIN_MS, () => {
      this.#webrtcFailures = FAILURES - 1; // one more try
      this.#connect();
    });
    try {
      const url = `${path(this.streamId, "video.mjpeg")}?view=${this.view}`;
      const response = await send(url, { signal: abort.signal });
      if (!response.ok) throw await refusal(response);
      const reader = new MultipartReader(boundaryOf(response.headers.get("Content-Type")) ?? "");
      for await (const bytes of chunks(response.body)) {
        const newest = reader.push(bytes).at(-1);
        if (newest && abort === this.#abort) await this.#showJpeg(newest);
      }
    } catch {
      // Cut off, refused or damaged: retry in all cases.
    }
    if (abort === this.#abort) this.#again();
  }

  async #showJpeg({ headers, body }) {
    const picture = await createImageBitmap(new Blob([body], { type: "image/jpeg" }));
    if (this.canvas.width !== picture.width || this.canvas.height !== picture.height) {
      this.canvas.width = picture.width;
      this.canvas.height = picture.height;
    }
    this.canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    this.#backoff.reset();
    this.#setMode("mjpeg");
    const number = (name) => (headers.has(name) ? Number(headers.get(name)) : null);
    this.onFrame({
      rtpTime: number("masklet-rtp-time"), frameIndex: number("masklet-frame-index"),
    });
  }
}

async function* chunks(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
