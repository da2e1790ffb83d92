// What a click means: a new object, a correction of the selected one, or a preview of either.

import { covers } from "./rle.js";

/**
 * Turns gestures into prompts of the API. Knows no page; reports through callbacks:
 * `onTrack(track, latest)` an applied prompt's object, `onPreview` the preview changed,
 * `onSelect(id)` an object was clicked, `onPending(points, isWaiting)` a prompt is in flight,
 * `onMessage(text, isError)` a message to show.
 */
export class Prompting {
  #draft = null; // {points, box, frame, objectId}: what a preview is made of
  #asked = 0;

  selectedId = null;
  previewFirst = false;
  preview = null; // the answer of a preview: {track, objectId}

  constructor(api, streamId, callbacks) {
    this.api = api;
    this.streamId = streamId;
    this.on = callbacks;
  }

  /** The points that a preview consists of so far. */
  get points() {
    return this.#draft?.points ?? [];
  }

  get isPreviewing() {
    return this.#draft !== null;
  }

  /** A gesture over a frame whose objects are `objects`. */
  async gesture({ points = [], box = null, moment, isNew }, objects) {
    if (this.#draft) return this.#refine(points, box);
    const isNegative = points.length === 1 && !points[0].positive;
    const under = points.length === 1
      ? objects.findLast((object) => covers(object.mask, points[0].x, points[0].y)) : undefined;
    let objectId = isNew ? null : this.selectedId;
    if (objectId === null && !isNew && under) {
      if (!isNegative) return this.on.onSelect(under.id);
      objectId = under.id;
    }
    if (isNegative && objectId === null) {
      this.on.onMessage("Select an object first, then Alt-click to remove a part of it.");
      return undefined;
    }
    const draft = { points, box, frame: moment, objectId };
    return this.previewFirst ? this.#begin(draft) : this.#apply(draft);
  }

  /** Apply the preview. */
  async keep() {
    const draft = this.#draft;
    if (!draft || !this.preview) return;
    this.#end();
    await this.#apply(draft);
  }

  /** Discard the preview; returns whether there was one. */
  cancel() {
    const wasPreviewing = this.#draft !== null;
    if (wasPreviewing) this.#end();
    return wasPreviewing;
  }

  #begin(draft) {
    this.#draft = draft;
    return this.#askPreview();
  }

  #refine(points, box) {
    this.#draft.points = [...this.#draft.points, ...points];
    if (box) this.#draft.box = box;
    return this.#askPreview();
  }

  async #askPreview() {
    const asked = (this.#asked += 1);
    const draft = this.#draft;
    this.on.onPreview();
    try {
      const target = draft.objectId === null ? {} : { object_id: draft.objectId, correct: true };
      const answer = await this.api.preview(this.streamId, { ...body(draft), ...target });
      if (asked !== this.#asked || draft !== this.#draft) return;
      this.preview = { track: answer.track, objectId: draft.objectId };
      this.on.onPreview();
    } catch (error) {
      if (asked !== this.#asked || draft !== this.#draft) return;
      if (this.preview) draft.points = draft.points.slice(0, -1); // the click that was refused
      else this.#end();
      this.on.onPreview();
      this.on.onMessage(error.message, true);
    }
  }

  #end() {
    this.#asked += 1;
    this.#draft = null;
    this.preview = null;
    this.on.onPreview();
  }

  async #apply(draft) {
    const places = draft.box ? [middleOf(draft.box)] : draft.points;
    this.on.onPending(places, true);
    try {
      const answer = draft.objectId === null
        ? await this.api.startObject(this.streamId, body(draft))
        : await this.api.correctObject(this.streamId, draft.objectId, body(draft));
      this.on.onTrack(answer, draft.objectId === null);
    } catch (error) {
      this.on.onMessage(error.message, true);
    } finally {
      this.on.onPending(places, false);
    }
  }
}

function body({ points, box, frame }) {
  const prompt = {};
  if (points.length) prompt.points = points;
  if (box) prompt.box = box;
  if (frame) prompt.frame = frame;
  return prompt;
}

function middleOf([x0, y0, x1, y1]) {
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2 };
}
