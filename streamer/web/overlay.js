// Draws a frame's results over its picture: masks, boxes, names, trails, the crosshair.

import { boxOf, containedRectangle } from "./geometry.js";
import { PALETTE, channels, inkOn, objectColour } from "./palette.js";
import { decodeMask } from "./rle.js";
import { speedText } from "./trails.js";

const FILL_ALPHA = 96;
const EDGE_ALPHA = 255;
const SMALLEST_LABEL_PX = 11;
const LARGEST_LABEL_PX = 26;
const NARROW_PX = 480; // of the picture: names without speeds

/** A canvas over the picture, in screen pixels, so that lines and names stay sharp at any size. */
export class Overlay {
  #masks = new WeakMap(); // mask -> its drawing: a frame may be drawn more than once

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.frameWidth = 0;
    this.frameHeight = 0;
  }

  /** The frame size that coordinates refer to. */
  setFrameSize(width, height) {
    this.frameWidth = width;
    this.frameHeight = height;
  }

  /** Where the picture lies in the canvas, in CSS pixels; null while its size is unknown. */
  rectangle() {
    const { clientWidth, clientHeight } = this.canvas;
    return containedRectangle(clientWidth, clientHeight, this.frameWidth, this.frameHeight);
  }

  /**
   * Draw a scene anew: `{objects, selectedId, preview, draft, crosshair, pulses, show, trails,
   * speeds}`. `show` says which of masks, boxes, trails and speeds are wanted.
   */
  draw(scene) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const rectangle = this.rectangle();
    if (!rectangle) return;
    context.setTransform(ratio, 0, 0, ratio, rectangle.left * ratio, rectangle.top * ratio);
    this.scale = rectangle.scale;
    this.labels = [];
    if (scene.show.trails) for (const trail of scene.trails) this.#drawTrail(trail);
    for (const object of scene.objects) this.#drawObject(object, scene);
    for (const segment of scene.segments ?? []) this.#drawSegment(segment, scene.pointed);
    if (scene.preview) this.#drawPreview(scene.preview);
    for (const point of scene.points ?? []) this.#drawPoint(point);
    if (scene.draft) this.#drawBox(scene.draft, "#ffffff", { dashed: true });
    for (const pulse of scene.pulses ?? []) this.#drawPulse(pulse);
    if (scene.crosshair) this.#drawCrosshair(scene.crosshair);
  }

  #drawObject(object, scene) {
    const colour = objectColour(object.id, object.colour);
    const isSelected = object.id === scene.selectedId;
    const box = boxOf(object);
    if (scene.show.masks && object.mask) this.#drawMask(object.mask, colour);
    if (!box) return;
    const isHidden = object.state !== "visible";
    if (scene.show.boxes || isSelected || isHidden) {
      this.#drawBox(box, colour, { dashed: isHidden, wide: isSelected });
    }
    const isNarrow = this.frameWidth * this.scale < NARROW_PX;
    const speed = scene.show.speeds && !isNarrow ? speedText(scene.speeds.get(object.id)) : "";
    const name = object.label || `Object ${object.id}`;
    const state = isHidden ? ` · ${object.state}` : "";
    this.#drawLabel(`${object.id}  ${name}${state}${speed && ` · ${speed}`}`, box, colour);
  }

  #drawMask(mask, colour, fillAlpha = FILL_ALPHA) {
    const drawing = this.#maskDrawing(mask, colour, fillAlpha);
    if (!drawing) return;
    const [x, y] = mask.offset;
    const [height, width] = mask.size;
    const { scale } = this;
    this.context.drawImage(drawing, x * scale, y * scale, width * scale, height * scale);
  }

  #maskDrawing(mask, colour, fillAlpha) {
    const kept = this.#masks.get(mask);
    if (kept?.colour === colour) return kept.drawing;
    const drawing = mask.encoding === "rle" ? tinted(mask, colour, fillAlpha) : null;
    this.#masks.set(mask, { colour, drawing });
    return drawing;
  }

  #drawSegment(segment, pointed) {
    const isPointed = segment === pointed;
    const colour = isPointed ? "#ffffff" : PALETTE[segment.area % PALETTE.length].value;
    this.#drawMask(segment.mask, colour, isPointed ? FILL_ALPHA : 0);
    if (isPointed) this.#drawBox(segment.bbox, colour, { dashed: true });
  }

  #drawPreview({ track, colour }) {
    if (track.mask) this.#drawMask(track.mask, colour);
    const box = boxOf(track);
    if (!box) return;
    this.#drawBox(box, colour, { dashed: true, wide: true });
    this.#drawLabel(track.mask ? "Preview" : "Preview: empty mask", box, colour);
  }

  #drawBox([x0, y0, x1, y1], colour, { dashed = false, wide = false } = {}) {
    const { context, scale } = this;
    const sides = [x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
    const line = wide ? 3 : 1.5;
    context.setLineDash(dashed ? [7, 5] : []);
    context.lineWidth = line + 2;
    context.strokeStyle = "rgba(0, 0, 0, 0.55)";
    context.strokeRect(...sides);
    context.lineWidth = line;
    context.strokeStyle = colour;
    context.strokeRect(...sides);
    context.setLineDash([]);
  }

  #drawLabel(text, [x0, y0, x1, y1], colour) {
    const { context, scale } = this;
    const [frameWidth, frameHeight] = [this.frameWidth * scale, this.frameHeight * scale];
    const size = Math.max(SMALLEST_LABEL_PX, Math.min(LARGEST_LABEL_PX, frameWidth / 75));
    context.font = `600 ${size}px system-ui, sans-serif`;
    const width = context.measureText(text).width + size * 0.8;
    const height = size * 1.5;
    const middle = ((x0 + x1) / 2) * scale;
    const left = Math.max(0, Math.min(middle - width / 2, frameWidth - width));
    // Above the object, else below it, else further up: where no other name is.
    const above = y0 * scale - height - 3;
    const places = [above, y1 * scale + 3, above - height - 2, above - 2 * (height + 2)]
      .map((place) => Math.max(0, Math.min(place, frameHeight - height)));
    const isFree = (place) => this.labels.every((label) =>
      left >= label.left + label.width || left + width <= label.left
      || place >= label.top + height || place + height <= label.top);
    const top = places.find(isFree) ?? places[0];
    this.labels.push({ left, top, width });
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(left, top, width, height, 4);
    context.fill();
    context.fillStyle = inkOn(colour);
    context.textBaseline = "middle";
    context.fillText(text, left + size * 0.4, top + height / 2 + 1);
  }

  #drawTrail({ id, colour: chosen, places }) {
    const { context, scale } = this;
    const [red, green, blue] = channels(objectColour(id, chosen));
    context.lineWidth = 2.5;
    context.lineCap = "round";
    for (let index = 1; index < places.length; index += 1) {
      if (places[index].isStart) continue;
      // Older segments are fainter.
      context.strokeStyle = `rgba(${red}, ${green}, ${blue}, ${(0.9 * index) / places.length})`;
      context.beginPath();
      context.moveTo(places[index - 1].x * scale, places[index - 1].y * scale);
      context.lineTo(places[index].x * scale, places[index].y * scale);
      context.stroke();
    }
  }

  /** A prompt's point: a plus or a minus, not only a colour; or a number for a calibration. */
  #drawPoint({ x, y, positive = true, text = positive ? "+" : "−" }) {
    const { context, scale } = this;
    context.beginPath();
    context.arc(x * scale, y * scale, 10, 0, 2 * Math.PI);
    context.fillStyle = positive ? "#0072b2" : "#d55e00";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#ffffff";
    context.stroke();
    context.fillStyle = "#ffffff";
    context.font = "700 14px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.fillText(text, x * scale, y * scale + 1);
    context.textAlign = "start";
  }

  #drawPulse({ x, y }) {
    const { context, scale } = this;
    for (const [radius, colour, line] of [[15, "rgba(0,0,0,.6)", 5], [15, "#ffffff", 2.5]]) {
      context.beginPath();
      context.arc(x * scale, y * scale, radius, 0, 2 * Math.PI);
      context.lineWidth = line;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  #drawCrosshair({ x, y }) {
    const { context, scale } = this;
    const [across, down] = [x * scale, y * scale];
    for (const [line, colour] of [[4, "rgba(0, 0, 0, 0.7)"], [1.5, "#ffffff"]]) {
      context.lineWidth = line;
      context.strokeStyle = colour;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(across + dx * 5, down + dy * 5);
        context.lineTo(across + dx * 22, down + dy * 22);
      }
      context.stroke();
    }
  }
}

/** A mask's crop as a canvas: its area tinted, its edge opaque. */
function tinted(mask, colour, fillAlpha) {
  const [height, width] = mask.size;
  if (!(height > 0 && width > 0)) return null;
  const pixels = decodeMask(mask.counts, height, width);
  const [red, green, blue] = channels(colour);
  const image = new ImageData(width, height);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      if (!pixels[at]) continue;
      const isInside = x > 0 && y > 0 && x < width - 1 && y < height - 1
        && pixels[at - 1] && pixels[at + 1] && pixels[at - width] && pixels[at + width];
      image.data.set([red, green, blue, isInside ? fillAlpha : EDGE_ALPHA], 4 * at);
    }
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
