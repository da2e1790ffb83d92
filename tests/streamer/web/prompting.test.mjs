import assert from "node:assert/strict";
import test from "node:test";

import { Prompting } from "../../../streamer/web/prompting.js";

const MOMENT = { frame_index: 12, session_id: "s" };
// Everything from (10, 10) to (14, 14) is covered: no background, 16 pixels.
const COVERED = { id: 3, mask: { encoding: "rle", offset: [10, 10], size: [4, 4], counts: "0`0" } };

/** A prompting with a recorded API; `calls` and `told` say what happened. */
function made({ refuse = null } = {}) {
  const calls = [];
  const told = [];
  const answer = (name) => async (...args) => {
    calls.push([name, ...args.slice(1)]);
    if (refuse) throw new Error(refuse);
    return { object_id: 7, frame_index: 12, track: { object_id: 7 } };
  };
  const api = {
    startObject: answer("start"), correctObject: answer("correct"), preview: answer("preview"),
  };
  const prompting = new Prompting(api, "gate", {
    onTrack: (_, isNew) => told.push(["track", isNew]),
    onPreview: () => {},
    onSelect: (id) => told.push(["select", id]),
    onPending: () => {},
    onMessage: (text) => told.push(["message", text]),
  });
  return { prompting, calls, told };
}

const click = (x, y, positive = true, isNew = false) =>
  ({ points: [{ x, y, positive }], moment: MOMENT, isNew });

test("a click starts a new object on the frame that was seen", async () => {
  const { prompting, calls, told } = made();
  await prompting.gesture(click(50, 60), [COVERED]);
  assert.deepEqual(calls, [["start", { points: [{ x: 50, y: 60, positive: true }], frame: MOMENT }]]);
  assert.deepEqual(told, [["track", true]]);
});

test("a click on a mask selects its object, and with Shift starts another one", async () => {
  const { prompting, calls, told } = made();
  await prompting.gesture(click(12, 12), [COVERED]);
  assert.deepEqual([calls, told], [[], [["select", 3]]]);
  await prompting.gesture(click(12, 12, true, true), [COVERED]);
  assert.equal(calls[0][0], "start");
});

test("with an object selected a click corrects it", async () => {
  const { prompting, calls } = made();
  prompting.selectedId = 3;
  await prompting.gesture(click(50, 60, false), [COVERED]);
  const prompt = { points: [{ x: 50, y: 60, positive: false }], frame: MOMENT };
  assert.deepEqual(calls, [["correct", 3, prompt]]);
  prompting.previewFirst = true;
  await prompting.gesture(click(50, 60, false), [COVERED]);
  assert.deepEqual(calls[1], ["preview", { ...prompt, object_id: 3, correct: true }]);
});

test("taking away needs an object, selected or under the pointer", async () => {
  const { prompting, calls, told } = made();
  await prompting.gesture(click(50, 60, false), [COVERED]);
  assert.equal(told[0][0], "message");
  await prompting.gesture(click(12, 12, false), [COVERED]);
  assert.deepEqual(calls[0].slice(0, 2), ["correct", 3]);
});

test("a preview changes nothing until it is kept, and all its clicks are about one frame", async () => {
  const { prompting, calls } = made();
  prompting.previewFirst = true;
  await prompting.gesture(click(50, 60), []);
  await prompting.gesture({ ...click(55, 65, false), moment: { frame_index: 40 } }, []);
  assert.deepEqual(calls.map(([name]) => name), ["preview", "preview"]);
  await prompting.keep();
  const [name, prompt] = calls.at(-1);
  assert.equal(name, "start");
  assert.deepEqual(prompt.frame, MOMENT);
  assert.deepEqual(prompt.points.map(({ positive }) => positive), [true, false]);
  assert.equal(prompting.isPreviewing, false);
});

test("a cancelled or refused preview leaves nothing behind", async () => {
  const { prompting, calls } = made();
  prompting.previewFirst = true;
  await prompting.gesture(click(50, 60), []);
  assert.equal(prompting.cancel(), true);
  await prompting.keep();
  assert.equal(calls.length, 1);
  const refused = made({ refuse: "frame 12 is too old" });
  refused.prompting.previewFirst = true;
  await refused.prompting.gesture(click(50, 60), []);
  assert.equal(refused.prompting.isPreviewing, false);
  assert.deepEqual(refused.told, [["message", "frame 12 is too old"]]);
});
