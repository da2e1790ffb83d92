// Everything that is on the picture: asked for, outlined, pointed at, and one of it tracked.

import { covers } from "./rle.js";

/**
 * A search of one stream. `onChange()` when there is something else to draw; `onTrack(answer)`
 * when a segment became an object; `onMessage(text, isError)` a message to show.
 */
export class Finding {
  #asked = 0;

  segments = []; // smallest first: of two under the pointer the smaller one is meant
  pointed = null;
  isSearching = false;

  constructor(api, streamId, callbacks) {
    this.api = api;
    this.streamId = streamId;
    this.on = callbacks;
  }

  get isOpen() {
    return this.isSearching || this.segments.length > 0;
  }

  /** Search a frame, `{frame_index, session_id}`; null is the newest. */
  async search(frame) {
    const asked = (this.#asked += 1);
    this.segments = [];
    this.pointed = null;
    this.isSearching = true;
    this.on.onChange();
    try {
      const answer = await this.api.segments(this.streamId, frame ? { frame } : {});
      if (asked !== this.#asked) return;
      this.frame = { frame_index: answer.frame_index, session_id: answer.session_id };
      this.segments = answer.segments.sort((one, other) => one.area - other.area);
      const count = this.segments.length;
      if (count === 0) this.on.onMessage("Nothing was found on this picture.");
    } catch (error) {
      if (asked === this.#asked) this.on.onMessage(error.message, true);
    } finally {
      if (asked === this.#asked) {
        this.isSearching = false;
        this.on.onChange();
      }
    }
  }

  /** Point at what is at a place of the frame, if anything. */
  pointAt(place) {
    const under = place
      ? this.segments.find(({ mask }) => covers(mask, place.x, place.y)) ?? null : null;
    if (under === this.pointed) return;
    this.pointed = under;
    this.on.onChange();
  }

  /** Point at the next segment, or the one before, from the largest on; for the keyboard. */
  step(by) {
    const { length } = this.segments;
    if (length === 0) return;
    const at = this.pointed ? this.segments.indexOf(this.pointed) : 0;
    this.pointed = this.segments[(at - by + length) % length];
    this.on.onChange();
  }

  /** Track a segment as a new object, from the frame it was found on. */
  async track(segment = this.pointed) {
    if (!segment) return;
    const prompt = { mask: segment.mask, frame: this.frame };
    this.segments = this.segments.filter((each) => each !== segment);
    this.pointed = null;
    this.on.onChange();
    try {
      this.on.onTrack(await this.api.startObject(this.streamId, prompt));
    } catch (error) {
      this.on.onMessage(error.message, true);
    }
  }

  /** Forget what was found; returns whether there was something. */
  close() {
    const wasOpen = this.isOpen;
    this.#asked += 1;
    this.segments = [];
    this.pointed = null;
    this.isSearching = false;
    if (wasOpen) this.on.onChange();
    return wasOpen;
  }
}

/** What a segment is called: "3 of 12, 140 × 80 pixels". */
export function nameOf(segment, segments) {
  const [x0, y0, x1, y1] = segment.bbox;
  const place = segments.length - segments.indexOf(segment);
  return `${place} of ${segments.length}, ${x1 - x0} × ${y1 - y0} pixels`;
}
