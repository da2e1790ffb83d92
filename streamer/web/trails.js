// Where objects were in the last seconds, and how fast they go.

import { toGround } from "./homography.js";
import { fixed } from "./numbers.js";

export const TRAIL_MS = 10_000;
// Bounds: places per object and objects per stream; the oldest are dropped.
const PLACES_KEPT = 600;
const OBJECTS_KEPT = 64;
// A speed covers the last 0.8 s, or the last four places where results are less frequent.
const SPEED_OVER_MS = 800;
const SPEED_OVER_AT_MOST_MS = 2500;
const PLACES_FOR_SPEED = 4;
const LONGEST_GAP_MS = 2000;

/** The paths of a stream's objects by capture time. Bounds: TRAIL_MS, PLACES_KEPT, OBJECTS_KEPT. */
export class Trails {
  #places = new Map(); // id -> [{time, x, y, isStart}], oldest first
  #newestTime = 0;

  /** Add a result. An object that is not visible leaves a gap in its trail. */
  add(frame) {
    const time = frame.capture_time_ms;
    const before = this.#newestTime;
    this.#newestTime = time;
    if (time < before - LONGEST_GAP_MS) this.#places.clear(); // the camera's clock was set back
    for (const object of frame.objects) {
      if (!(object.area > 0)) continue;
      const places = this.#places.get(object.id) ?? [];
      const last = places.at(-1);
      if (last && time <= last.time) continue; // a repeated or older frame
      const [x0, , x1, y1] = object.bbox;
      // The middle of the lower edge: where a standing person touches the ground.
      const isStart = last?.time !== before || time - last.time > LONGEST_GAP_MS;
      places.push({ time, x: (x0 + x1) / 2, y: y1, isStart });
      while (places.length > PLACES_KEPT || time - places[0].time > TRAIL_MS) places.shift();
      this.#places.delete(object.id);
      this.#places.set(object.id, places);
    }
    while (this.#places.size > OBJECTS_KEPT) {
      this.#places.delete(this.#places.keys().next().value);
    }
  }

  /** The places of an object up to `time` (ms), not older than `duration` before it. */
  upTo(id, time, duration = TRAIL_MS) {
    const places = this.#places.get(id) ?? [];
    return places.filter((place) => place.time <= time && place.time >= time - duration);
  }

  /**
   * How fast an object moves at `time`: {value, unit}, in metres a second when `homography` is
   * given, else in pixels a second. Null when it was not seen often enough to tell.
   */
  speed(id, time, homography = null) {
    let places = this.upTo(id, time, SPEED_OVER_AT_MOST_MS);
    if (places.at(-1)?.time !== time) return null; // not seen on this frame
    places = places.slice(Math.max(0, places.findLastIndex((place) => place.isStart)));
    const recent = places.filter((place) => place.time >= time - SPEED_OVER_MS);
    places = recent.length > PLACES_FOR_SPEED ? recent : places.slice(-PLACES_FOR_SPEED);
    if (places.length < PLACES_FOR_SPEED) return null;
    const points = places.map((place) => {
      const ground = homography ? toGround(homography, place.x, place.y) : place;
      return ground && { time: place.time, x: ground.x, y: ground.y };
    });
    if (points.includes(null)) return null;
    const value = Math.hypot(slope(points, "x"), slope(points, "y")) * 1000;
    return { value, unit: homography ? "m/s" : "px/s" };
  }
}

/** A speed as text of stable length: "3.2 m/s", "140 px/s". */
export function speedText(speed) {
  if (!speed) return "";
  return `${fixed(speed.value, speed.unit === "m/s" ? 1 : 0)} ${speed.unit}`;
}

/** The slope of a coordinate over time by least squares: mask edges jitter by a few pixels. */
function slope(points, coordinate) {
  const count = points.length;
  const meanTime = points.reduce((sum, point) => sum + point.time, 0) / count;
  const mean = points.reduce((sum, point) => sum + point[coordinate], 0) / count;
  let product = 0;
  let square = 0;
  for (const point of points) {
    product += (point.time - meanTime) * (point[coordinate] - mean);
    square += (point.time - meanTime) ** 2;
  }
  return square > 0 ? product / square : 0;
}
