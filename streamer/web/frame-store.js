// The newest results of a stream, found by the RTP time of the video frame they belong to.

const RTP_WRAP = 2 ** 32;
// A result waits here for its video frame, which arrives later by encoding, network and the
// browser's jitter buffer: four seconds at 30 Hz. The oldest is dropped.
export const FRAMES_KEPT = 120;

/** The RTP time of a result for a received video frame: RTP timestamps start anywhere and wrap. */
export function resultRtpTime(rtpTimestamp, offset) {
  return (((rtpTimestamp - offset) % RTP_WRAP) + RTP_WRAP) % RTP_WRAP;
}

/** Results by RTP time; `newest` is the last one that arrived. Bound: FRAMES_KEPT. */
export class FrameStore {
  #frames = new Map(); // in order of arrival

  newest = null;

  add(frame) {
    this.newest = frame;
    this.#frames.delete(frame.rtp_time);
    this.#frames.set(frame.rtp_time, frame);
    while (this.#frames.size > FRAMES_KEPT) {
      this.#frames.delete(this.#frames.keys().next().value);
    }
  }

  /** The result of exactly this RTP time, or null. */
  at(rtpTime) {
    return this.#frames.get(rtpTime) ?? null;
  }

  /** The result of this frame index, or null. */
  withIndex(frameIndex) {
    for (const frame of this.#frames.values()) {
      if (frame.frame_index === frameIndex) return frame;
    }
    return null;
  }

  clear() {
    this.#frames.clear();
    this.newest = null;
  }

  get size() {
    return this.#frames.size;
  }
}
