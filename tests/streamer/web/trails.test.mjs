import assert from "node:assert/strict";
import test from "node:test";

import { homographyOf } from "../../../streamer/web/homography.js";
import { TRAIL_MS, Trails, speedText } from "../../../streamer/web/trails.js";

/** An object 20 px wide that moves 100 px/s to the right and 50 px/s down. */
function moving(milliseconds, start = 0) {
  const trails = new Trails();
  for (let time = start; time <= start + milliseconds; time += 40) {
    const [x, y] = [100 + time / 10, 50 + time / 20];
    trails.add(frame(time, [{ id: 1, area: 9, bbox: [x - 10, y - 30, x + 10, y] }]));
  }
  return trails;
}

function frame(time, objects) {
  return { capture_time_ms: time, objects };
}

test("speed is told in pixels, and in metres on calibrated ground", () => {
  const trails = moving(2000);
  const speed = trails.speed(1, 2000);
  assert.equal(speed.unit, "px/s");
  assert.ok(Math.abs(speed.value - Math.hypot(100, 50)) < 1e-6);
  // Ten pixels are a metre, both ways.
  const ground = homographyOf([[0, 0, 0, 0], [640, 0, 64, 0], [640, 360, 64, 36], [0, 360, 0, 36]]);
  const metres = trails.speed(1, 2000, ground);
  assert.equal(metres.unit, "m/s");
  assert.ok(Math.abs(metres.value - Math.hypot(10, 5)) < 1e-6);
  assert.equal(speedText(metres), "11.2 m/s");
  assert.equal(speedText(null), "");
});

test("trembling edges do not make somebody run who stands", () => {
  const trails = new Trails();
  for (let time = 0; time <= 2000; time += 40) {
    const tremble = (time / 40) % 2;
    trails.add(frame(time, [{ id: 1, area: 9, bbox: [100 - tremble, 50, 120, 90 + tremble] }]));
  }
  assert.ok(trails.speed(1, 2000).value < 3);
});

test("no speed is told of what was not seen just now or too seldom", () => {
  const trails = moving(2000);
  trails.add(frame(2400, [{ id: 1, area: 0, bbox: [0, 0, 0, 0] }]));
  assert.equal(trails.speed(1, 2400), null);
  assert.equal(moving(80).speed(1, 80), null);
  assert.equal(trails.speed(9, 2000), null);
});

test("results that come seldom tell a speed too", () => {
  const trails = new Trails();
  for (let time = 0; time <= 2000; time += 500) {
    trails.add(frame(time, [{ id: 1, area: 9, bbox: [time / 10, 0, 20 + time / 10, 40] }]));
  }
  assert.ok(Math.abs(trails.speed(1, 2000).value - 100) < 1e-6);
});

test("a trail is cut where its object was not seen, and ends with the time that is shown", () => {
  const trails = moving(400);
  trails.add(frame(440, [{ id: 1, area: 0, bbox: [0, 0, 0, 0] }]));
  trails.add(frame(480, [{ id: 1, area: 9, bbox: [300, 50, 320, 90] }]));
  assert.equal(trails.upTo(1, 480).at(-1).isStart, true);
  assert.equal(trails.upTo(1, 200).at(-1).time, 200);
  assert.equal(trails.upTo(1, 400, 100).length, 3);
});

test("trails are bounded in time, length and number", () => {
  const trails = moving(3 * TRAIL_MS);
  const places = trails.upTo(1, 3 * TRAIL_MS);
  assert.ok(places.length <= 600 && places[0].time >= 2 * TRAIL_MS);
  for (let id = 0; id < 200; id += 1) {
    trails.add(frame(1e6, [{ id, area: 1, bbox: [0, 0, 1, 1] }]));
  }
  assert.equal(trails.upTo(1, 1e6).length, 0);
  assert.equal(trails.upTo(199, 1e6).length, 1);
});
