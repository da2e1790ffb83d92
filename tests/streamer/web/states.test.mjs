import assert from "node:assert/strict";
import test from "node:test";

import { cameraObstacle } from "../../../streamer/web/camera.js";
import { niceCeiling } from "../../../streamer/web/charts.js";
import { describeAnswer, describeEvent, eventTone } from "../../../streamer/web/events.js";
import { duration, fixed, percent } from "../../../streamer/web/numbers.js";
import { inkOn, objectColour } from "../../../streamer/web/palette.js";
import { starterState, streamState } from "../../../streamer/web/stream-state.js";
import { StateHistory, WINDOW_MS } from "../../../streamer/web/timeline.js";
import { speedText } from "../../../streamer/web/trails.js";

test("the states of objects are kept as stretches inside a window", () => {
  const history = new StateHistory();
  const add = (time, state) =>
    history.add({ capture_time_ms: time, objects: [{ id: 1, state, label: null, colour: null }] });
  for (const [time, state] of [[0, "visible"], [500, "visible"], [900, "occluded"], [8000, "occluded"]]) {
    add(time, state);
  }
  // The pause of seven seconds is not drawn as if something had been seen.
  assert.deepEqual(history.lanes.get(1).stretches, [
    { state: "visible", from: 0, to: 500 }, { state: "occluded", from: 900, to: 900 },
    { state: "occluded", from: 8000, to: 8000 },
  ]);
  add(WINDOW_MS + 2000, "lost");
  assert.deepEqual(history.lanes.get(1).stretches.map(({ from }) => from), [8000, WINDOW_MS + 2000]);
});

test("a click on nothing is told as one", () => {
  const answer = (score) => ({ object_id: 2, track: { object_id: 2, score } });
  const tracked = { text: "Object 2 is tracked.", tone: "good" };
  assert.deepEqual(describeAnswer(answer(0.8), true), tracked);
  assert.deepEqual(describeAnswer(answer(0.04), false, "Nora"), {
    text: "Nora was corrected, but the model is unsure of it (4 %): click once more, or drag a box.",
    tone: "warning",
  });
  for (const unknown of [null, undefined, Number.NaN]) {
    assert.deepEqual(describeAnswer(answer(unknown), true), tracked);
  }
});

test("what is no number is shown as a dash", () => {
  assert.equal(fixed(3.14159, 1), "3.1");
  assert.equal(percent(0.826), "83 %");
  assert.deepEqual([0.42, 12.4, 180].map(duration), ["0.4 s", "12 s", "3 min"]);
  for (const none of [null, undefined, Number.NaN, Infinity, "7", {}]) {
    assert.equal(fixed(none), "–");
    assert.equal(percent(none), "–");
    assert.equal(duration(none).includes("NaN"), false);
  }
  assert.equal(speedText({ value: 0 / 0, unit: "m/s" }), "– m/s");
});

test("a page over plain HTTP is told how to get its camera", () => {
  const obstacle = cameraObstacle(false, false, { host: "10.0.0.5:8080" });
  assert.match(obstacle, /api\.self_signed=true/);
  assert.match(obstacle, /https:\/\/10\.0\.0\.5:8080\//);
  assert.match(cameraObstacle(true, false, { host: "" }), /no camera/);
  assert.equal(cameraObstacle(true, true, { host: "" }), null);
});

test("events are told in words, also those of later daemons", () => {
  assert.equal(describeEvent({ kind: "lost", label: "keeper", object_id: 1 }), "keeper is lost");
  assert.equal(describeEvent({ kind: "stream_down", reason: "no_media" }), "Stream is down: no media");
  const removed = { kind: "stream_down", reason: "stream_removed" };
  assert.equal(describeEvent(removed), "Stream was removed");
  assert.equal(eventTone(removed), "plain");
  const back = { kind: "reacquired", object_id: 3, absent_s: 4.25 };
  assert.equal(describeEvent(back), "Object 3 is visible again after 4.3 s");
  assert.equal(describeEvent({ ...back, absent_s: 600 }), "Object 3 is visible again after 10 min");
  assert.equal(
    describeEvent({ kind: "occluded", object_id: 3, reason: "left_picture" }),
    "Object 3 is hidden: it was last seen at the edge",
  );
  assert.equal(
    describeEvent({ kind: "removed", object_id: 3, reason: "requested" }), "Object 3 was removed",
  );
  assert.equal(
    describeEvent({ kind: "removed", object_id: 3, reason: "lost_too_long" }),
    "Object 3 was removed: lost for too long",
  );
  assert.equal(describeEvent({ kind: "scene_cut" }), "The scene changed");
  assert.equal(describeEvent({ kind: "brand_new", reason: "x" }), "brand new: x");
  assert.equal(eventTone({ kind: "occluded" }), "warning");
  assert.equal(eventTone({ kind: "brand_new" }), "plain");
});

test("a stream that waits for its publisher says so", () => {
  assert.equal(streamState({ state: "retrying", whip: true }).text, "waiting for a publisher");
  assert.equal(streamState({ state: "live", paused: true }).text, "paused");
  assert.equal(streamState({ state: "brand_new" }).text, "brand_new");
});

test("colours are the palette's by id unless one was chosen, with legible names on them", () => {
  assert.equal(objectColour(1), objectColour(8));
  assert.notEqual(objectColour(1), objectColour(2));
  assert.match(objectColour(0), /^#[0-9a-f]{6}$/);
  assert.equal(objectColour(1, "#ABCDEF"), "#abcdef");
  assert.equal(objectColour(1, "red;x"), objectColour(1));
  assert.equal(inkOn("#f0e442"), "#000000");
  assert.equal(inkOn("#0072b2"), "#ffffff");
});

test("charts end at round numbers", () => {
  assert.deepEqual([0, 0.3, 1, 83, 100, 101].map(niceCeiling), [1, 0.5, 1, 100, 100, 200]);
});

test("a stream that starts objects automatically says so, and why it does not now", () => {
  const starter = { kind: "motion", state: "looking", reason: null, started: 3, found: 1 };
  assert.deepEqual(starterState({ starter }), {
    text: "starts objects automatically", hint: "motion: 3 started, 1 found again",
  });
  const still = starterState({ starter: { ...starter, state: "standing_still", reason: "it moves" } });
  assert.equal(still.text, "paused: starts no objects now");
  assert.match(still.hint, /; it moves$/);
  assert.equal(starterState({ starter: null }).text, "");
  assert.equal(starterState({}).text, "");
});
