import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { covers, decodeMask, readCounts } from "../../../streamer/web/rle.js";

const samples = JSON.parse(readFileSync(new URL("./samples.json", import.meta.url), "utf8"));

test("masks are those that pycocotools encoded", () => {
  for (const { counts, size: [height, width], rows } of samples.masks) {
    const pixels = decodeMask(counts, height, width);
    const decoded = Array.from({ length: height }, (_, row) =>
      Array.from(pixels.subarray(row * width, (row + 1) * width)).join(""));
    assert.deepEqual(decoded, rows);
  }
});

test("a point is covered where the mask is set, in frame coordinates", () => {
  for (const { counts, size, rows } of samples.masks) {
    const mask = { encoding: "rle", offset: [30, 40], size, counts };
    rows.forEach((row, y) => [...row].forEach((pixel, x) => {
      assert.equal(covers(mask, 30 + x + 0.5, 40 + y + 0.5), pixel === "1");
    }));
    assert.equal(covers(mask, 29.9, 40), false);
    assert.equal(covers(mask, 30, 40 + size[0]), false);
  }
  assert.equal(covers(null, 1, 1), false);
});

test("what is no mask is refused", () => {
  assert.throws(() => readCounts("o"), /inside a number/); // says that more follows
  assert.throws(() => readCounts("0 1"), /not COCO counts/);
  assert.throws(() => readCounts("oooooooooo1"), /inside a number/);
  assert.throws(() => decodeMask("52", 3, 3), /3 x 3/);
  assert.deepEqual(readCounts(""), []);
});
