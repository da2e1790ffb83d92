import assert from "node:assert/strict";
import test from "node:test";

import {
  boxBetween, boxOf, clampToFrame, containedRectangle, toFrame,
} from "../../../streamer/web/geometry.js";

test("a wide picture in a tall box has bars above and below", () => {
  assert.deepEqual(containedRectangle(640, 800, 1280, 720), {
    left: 0, top: 220, width: 640, height: 360, scale: 0.5,
  });
});

test("a tall picture in a wide box has bars at the sides", () => {
  const rectangle = containedRectangle(1000, 500, 360, 640);
  assert.equal(rectangle.top, 0);
  assert.equal(rectangle.left, (1000 - 281.25) / 2);
});

test("nothing is laid out while a size is unknown", () => {
  assert.equal(containedRectangle(0, 500, 640, 360), null);
  assert.equal(containedRectangle(640, 500, 0, 0), null);
});

test("a click on the picture is a point of the frame, a click on a bar is none", () => {
  const rectangle = containedRectangle(640, 800, 1280, 720);
  assert.deepEqual(toFrame(320, 400, rectangle), { x: 640, y: 360 });
  assert.deepEqual(toFrame(0, 220, rectangle), { x: 0, y: 0 });
  assert.equal(toFrame(320, 219, rectangle), null);
  assert.equal(toFrame(320, 581, rectangle), null);
});

test("points stay inside the frame and boxes have their corners in order", () => {
  assert.deepEqual(clampToFrame({ x: -4, y: 400 }, 640, 360), { x: 0, y: 359.99 });
  assert.deepEqual(boxBetween({ x: 9, y: 2 }, { x: 3, y: 7 }), [3, 2, 9, 7]);
});

test("an object that is not seen has the box where it may be, if anybody can tell", () => {
  const seen = [1, 2, 3, 4];
  assert.deepEqual(boxOf({ bbox: seen, bbox_expected: null }), seen);
  assert.deepEqual(boxOf({ bbox: seen, bbox_expected: [5, 6, 7, 8] }), seen);
  assert.deepEqual(boxOf({ bbox: [0, 0, 0, 0], bbox_expected: [-5.5, 6, 7, 8] }), [-5.5, 6, 7, 8]);
  assert.equal(boxOf({ bbox: [0, 0, 0, 0], bbox_expected: null }), null);
  assert.equal(boxOf({ bbox: [0, 0, 0, 0] }), null);
});
