import assert from "node:assert/strict";
import test from "node:test";

import { Finding, nameOf } from "../../../streamer/web/finding.js";

const FRAME = { frame_index: 12, session_id: "s" };
const square = (x, y, area) => ({
  bbox: [x, y, x + 4, y + 4], area,
  mask: { encoding: "rle", offset: [x, y], size: [4, 4], counts: "0`0" },
});
const SMALL = square(10, 10, 16);
const LARGE = square(12, 10, 90);

/** A finding whose API answers with `segments`; `calls` and `told` say what happened. */
function made({ segments = [LARGE, SMALL], refuse = null } = {}) {
  const calls = [];
  const told = [];
  const answer = (name, value) => async (...args) => {
    calls.push([name, ...args.slice(1)]);
    if (refuse) throw new Error(refuse);
    return value;
  };
  const api = {
    segments: answer("segments", { ...FRAME, segments: [...segments] }),
    startObject: answer("start", { object_id: 7 }),
  };
  const finding = new Finding(api, "gate", {
    onChange: () => {},
    onTrack: (answered) => told.push(["track", answered.object_id]),
    onMessage: (text) => told.push(["message", text]),
  });
  return { finding, calls, told };
}

test("of two segments under the pointer the smaller one is meant", async () => {
  const { finding, calls } = made();
  await finding.search(FRAME);
  assert.deepEqual(calls, [["segments", { frame: FRAME }]]);
  finding.pointAt({ x: 13, y: 11 });
  assert.equal(finding.pointed, SMALL);
  finding.pointAt({ x: 15, y: 11 });
  assert.equal(finding.pointed, LARGE);
  finding.pointAt({ x: 100, y: 11 });
  assert.equal(finding.pointed, null);
  finding.pointAt(null);
  assert.equal(finding.pointed, null);
});

test("the keyboard steps from the largest to the smallest and round again", async () => {
  const { finding } = made();
  await finding.search(null);
  finding.step(1);
  assert.equal(finding.pointed, LARGE);
  assert.equal(nameOf(finding.pointed, finding.segments), "1 of 2, 4 × 4 pixels");
  finding.step(1);
  assert.equal(finding.pointed, SMALL);
  finding.step(1);
  assert.equal(finding.pointed, LARGE);
  finding.step(-1);
  assert.equal(finding.pointed, SMALL);
});

test("a segment is tracked with its own mask, on its frame, and is then no choice any more", async () => {
  const { finding, calls, told } = made();
  await finding.search(null);
  finding.pointAt({ x: 11, y: 11 });
  await finding.track();
  assert.deepEqual(calls[1], ["start", { mask: SMALL.mask, frame: FRAME }]);
  assert.deepEqual(told, [["track", 7]]);
  assert.deepEqual(finding.segments, [LARGE]);
  await finding.track(); // nothing is pointed at
  assert.equal(calls.length, 2);
});

test("a refusal is shown, and the search is over", async () => {
  const { finding, told } = made({ refuse: "stream gate is being searched already" });
  await finding.search(null);
  assert.deepEqual(told, [["message", "stream gate is being searched already"]]);
  assert.equal(finding.isOpen, false);
});

test("an answer that comes after the search was closed is dropped", async () => {
  const { finding, told } = made();
  const answered = finding.search(null);
  assert.equal(finding.isSearching, true);
  assert.equal(finding.close(), true);
  await answered;
  assert.deepEqual([finding.segments, finding.isOpen, told], [[], false, []]);
  assert.equal(finding.close(), false);
});

test("a picture without anything says so", async () => {
  const { finding, told } = made({ segments: [] });
  await finding.search(null);
  assert.deepEqual(told, [["message", "Nothing was found on this picture."]]);
  assert.equal(finding.isOpen, false);
});
