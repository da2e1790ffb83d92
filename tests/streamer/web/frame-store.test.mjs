import assert from "node:assert/strict";
import test from "node:test";

import { FRAMES_KEPT, FrameStore, resultRtpTime } from "../../../streamer/web/frame-store.js";

test("a video frame's result is found across the wrap of RTP time", () => {
  assert.equal(resultRtpTime(5000, 2000), 3000);
  assert.equal(resultRtpTime(1000, 2 ** 32 - 1), 1001);
  assert.equal(resultRtpTime(0, 1), 2 ** 32 - 1);
  const store = new FrameStore();
  store.add({ frame_index: 7, rtp_time: 2 ** 32 - 90 });
  assert.equal(store.at(resultRtpTime(10, 100)).frame_index, 7);
  assert.equal(store.at(resultRtpTime(11, 100)), null);
});

test("the newest results are kept, and no more than there is room for", () => {
  const store = new FrameStore();
  for (let index = 0; index < 3 * FRAMES_KEPT; index += 1) {
    store.add({ frame_index: index, rtp_time: index * 3000 });
  }
  assert.equal(store.size, FRAMES_KEPT);
  assert.equal(store.newest.frame_index, 3 * FRAMES_KEPT - 1);
  assert.equal(store.at(0), null);
  assert.equal(store.withIndex(3 * FRAMES_KEPT - 2).rtp_time, (3 * FRAMES_KEPT - 2) * 3000);
  assert.equal(store.withIndex(2), null);
  store.clear();
  assert.equal(store.newest, null);
});
