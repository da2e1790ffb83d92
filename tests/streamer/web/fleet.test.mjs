import assert from "node:assert/strict";
import test from "node:test";

import { byNode, matching, summary } from "../../../streamer/web/fleet-view.js";

test("a fleet in figures: what answers, what is placed, moves by reason, failovers", () => {
  const fleet = {
    workers: [{ answers: true }, { answers: false }],
    streams: [{ state: "running" }, { state: "waiting" }, { state: "moving" }],
    totals: { moves: { drained: 2, requested: 0, of_a_later_version: 1 }, failovers: 4, failover_s: 10 },
  };
  const { waiting, figures } = summary(fleet);
  assert.equal(waiting.length, 1);
  assert.deepEqual(figures.map(([, value]) => value), [
    "1 of 2", "2 of 3", "2 for a drain, 1 of_a_later_version", "4, 2.5 s on average",
  ]);
  const empty = { workers: [], streams: [], totals: { moves: {}, failovers: 0, failover_s: 0 } };
  assert.deepEqual(summary(empty).figures.map(([, value]) => value),
    ["0 of 0", "0 of 0", "none", "none"]);
});

test("workers stand below their nodes, both in order", () => {
  const worker = (worker_id, node) => ({ worker_id, node });
  assert.deepEqual(
    byNode([worker("b", "n2"), worker("c", "n1"), worker("a", "n2")])
      .map(([node, workers]) => [node, workers.map(({ worker_id: id }) => id)]),
    [["n1", ["c"]], ["n2", ["a", "b"]]],
  );
});

test("a text finds streams, workers and machines; a worker with all its streams", () => {
  const fleet = {
    workers: [{ worker_id: "w1", node: "north" }, { worker_id: "w2", node: "south" }],
    streams: [
      { stream_id: "gate", worker_id: "w1" }, { stream_id: "yard", worker_id: "w2" },
      { stream_id: "w1-door", worker_id: null },
    ],
  };
  const found = (text) => {
    const { streams, workers } = matching(fleet, text);
    return [[...streams], [...workers].filter((id) => id !== null)];
  };
  assert.deepEqual(found(""), [["gate", "yard", "w1-door"], ["w1", "w2"]]);
  assert.deepEqual(found(" GATE "), [["gate"], ["w1"]]);
  assert.deepEqual(found("sout"), [["yard"], ["w2"]]);
  assert.deepEqual(found("w1"), [["gate", "w1-door"], ["w1"]]);
  assert.deepEqual(found("nothing"), [[], []]);
});
