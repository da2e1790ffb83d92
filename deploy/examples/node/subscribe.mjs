// Masklet's results in Node.
//
//     npm ci --ignore-scripts
//     node subscribe.mjs tcp://127.0.0.1:5555 gate 10      (endpoint, stream or "", frames)
//
// Prints one line per object and frame, whose area is counted in the decoded mask, and one per
// event: an object was added, is occluded, lost, reacquired or removed, the stream is up or down ...

import { decode } from "@msgpack/msgpack";
import { Subscriber } from "zeromq";

/**
 * COCO's compressed counts: run lengths of the crop's pixels, column by column, background
 * first. Five bits a character, least significant first; from the fourth count on it is the
 * difference to the count before the previous one.
 */
function readCounts(bytes) {
  const counts = [];
  let at = 0;
  while (at < bytes.length) {
    let value = 0;
    let shift = 0;
    let digit;
    do {
      digit = bytes[at++] - 48;
      value |= (digit & 31) << shift;
      shift += 5;
    } while (digit & 32);
    if (digit & 16) value |= -1 << shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

/** The mask of one object on the whole frame, one byte a pixel, row by row. */
function readMask(header, entry, masks) {
  const full = new Uint8Array(header.width * header.height);
  if (!entry.mask) return full; // the object is not visible
  if (entry.mask.encoding !== "rle") {
    throw new Error(`this example reads rle masks; the daemon sends ${entry.mask.encoding}`);
  }
  const [x0, y0] = entry.mask.offset;
  const [height] = entry.mask.size;
  let position = 0;
  let value = 0;
  for (const run of readCounts(masks[entry.mask.part])) {
    for (const end = position + run; position < end; position++) {
      const column = Math.floor(position / height);
      full[(y0 + (position % height)) * header.width + x0 + column] = value;
    }
    value = 1 - value;
  }
  return full;
}

/** The event in words; keys without a value are omitted, and others may be added. */
function eventLine(header) {
  const words = [header.stream_id, "event", header.kind];
  if (header.object_id !== undefined) words.push(`object ${header.object_id}`);
  if (header.reason !== undefined) words.push(`(${header.reason})`);
  if (header.absent_s !== undefined) words.push(`unseen for ${header.absent_s.toFixed(1)} s`);
  return words.join(" ");
}

const [endpoint = "tcp://127.0.0.1:5555", stream = "", count = "Infinity"] = process.argv.slice(2);
const socket = new Subscriber({ receiveHighWaterMark: 64 });
// The closing slash keeps cam10 out of a subscription to cam1.
const which = stream ? `${stream}/` : "";
socket.subscribe(`v1/frame/${which}`, `v1/event/${which}`);
socket.connect(endpoint);

let epoch;
let frames = 0;
const expected = new Map();
for await (const [topicPart, headerPart, ...masks] of socket) {
  // Times in ns are larger than 2^53: whole numbers of 64 bits come as BigInt.
  const header = decode(headerPart, { useBigInt64: true });
  if (!/^masklet\/1(\.|$)/.test(header.schema)) {
    throw new Error(`the daemon speaks ${header.schema}, this example masklet/1`);
  }
  if (header.epoch !== epoch) {
    epoch = header.epoch; // the daemon was restarted: numbers begin at 0
    expected.clear();
  }
  const topic = topicPart.toString();
  const next = expected.get(topic) ?? header.seq;
  if (header.seq < next) continue; // repeated for a late joiner
  if (header.seq > next) console.log(`lost ${header.seq - next} messages of ${topic}`);
  expected.set(topic, header.seq + 1);
  if (topic.startsWith("v1/event/")) {
    console.log(eventLine(header));
    continue;
  }
  for (const entry of header.objects) {
    const area = readMask(header, entry, masks).reduce((sum, pixel) => sum + pixel, 0);
    console.log(
      `${header.stream_id} frame ${header.frame_index} object ${entry.id} ${entry.state} ` +
        `box (${entry.bbox.join(", ")}) area ${area} score ${entry.score.toFixed(2)}`,
    );
  }
  frames += 1;
  if (frames >= Number(count)) break;
}
socket.close();
