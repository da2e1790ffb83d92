import assert from "node:assert/strict";
import test from "node:test";

import { MultipartReader, boundaryOf } from "../../../streamer/web/multipart.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (part) => new TextDecoder().decode(part.body);
const STREAM = "--cut\r\nContent-Type: image/jpeg\r\nContent-Length: 11\r\n"
  + "Masklet-Frame-Index: 4\r\n\r\nab\r\n--cut\r\n\r\n--cut\r\n\r\nsecond\r\n--cut\r\n";

test("parts come with their headers, however the bytes are cut", () => {
  for (const size of [1, 2, 7, STREAM.length]) {
    const reader = new MultipartReader("cut");
    const parts = [];
    for (let at = 0; at < STREAM.length; at += size) {
      parts.push(...reader.push(bytes(STREAM.slice(at, at + size))));
    }
    assert.equal(parts.length, 2);
    assert.equal(text(parts[0]), "ab\r\n--cut\r\n"); // its length is said: not searched
    assert.equal(parts[0].headers.get("masklet-frame-index"), "4");
    assert.equal(text(parts[1]), "second");
  }
});

test("the boundary is that of the content type", () => {
  assert.equal(boundaryOf("multipart/x-mixed-replace; boundary=cut"), "cut");
  assert.equal(boundaryOf('multipart/x-mixed-replace; boundary="a b"; x=1'), "a b");
  assert.equal(boundaryOf("image/jpeg"), null);
});

test("what is no picture stream is not kept for ever", () => {
  const reader = new MultipartReader("cut");
  assert.throws(() => {
    for (let count = 0; count < 20; count += 1) reader.push(new Uint8Array(1024 * 1024));
  }, RangeError);
});
