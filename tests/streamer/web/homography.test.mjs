import assert from "node:assert/strict";
import test from "node:test";

import { hasThreeInLine, homographyOf, toGround } from "../../../streamer/web/homography.js";

const close = (found, wanted) => {
  assert.ok(Math.abs(found.x - wanted.x) < 1e-6 && Math.abs(found.y - wanted.y) < 1e-6,
    `${found.x}, ${found.y} is not ${wanted.x}, ${wanted.y}`);
};

test("the four points lie where they were said to", () => {
  const pairs = [[100, 300, 0, 0], [540, 310, 40.3, 0], [420, 120, 40.3, 16.5], [190, 118, 0, 16.5]];
  const homography = homographyOf(pairs);
  for (const [x, y, X, Y] of pairs) close(toGround(homography, x, y), { x: X, y: Y });
});

test("a camera's view of flat ground is undone", () => {
  // A pinhole camera 5 m up, looking along y and tilted down by 30 degrees, focal length 500 px.
  const [sine, cosine] = [Math.sin(Math.PI / 6), Math.cos(Math.PI / 6)];
  const seen = (X, Y) => {
    const depth = Y * cosine + 5 * sine;
    return [320 + (500 * X) / depth, 180 + (500 * (5 * cosine - Y * sine)) / depth];
  };
  const corners = [[-3, 5], [3, 5], [3, 12], [-3, 12]];
  const homography = homographyOf(corners.map(([X, Y]) => [...seen(X, Y), X, Y]));
  for (const [X, Y] of [[0, 8], [1.5, 6.25], [-4, 20]]) {
    close(toGround(homography, ...seen(X, Y)), { x: X, y: Y });
  }
});

test("what determines no plane is refused", () => {
  const square = [[0, 0, 0, 0], [9, 0, 1, 0], [9, 9, 1, 1], [0, 9, 0, 1]];
  assert.ok(homographyOf(square));
  assert.equal(homographyOf(square.slice(0, 3)), null);
  assert.equal(homographyOf([]), null);
  assert.equal(homographyOf([...square.slice(0, 3), [4.5, 0, 0, 1]]), null); // three pixels in line
  assert.equal(homographyOf([...square.slice(0, 3), [0, 9, 0.5, 0]]), null); // three metres in line
  assert.equal(homographyOf([...square.slice(0, 3), [0, 9, Number.NaN, 1]]), null);
  assert.ok(hasThreeInLine([[1, 1], [1, 1], [5, 3], [9, 2]]));
});

test("the horizon lies nowhere on the ground", () => {
  assert.equal(toGround([1, 0, 0, 0, 1, 0, 0, 1, -100], 50, 100), null);
});
