// COCO's compressed run lengths, as `pycocotools` writes them: reading a mask, testing a point.
//
// A mask is read column by column, background first. A count is written in groups of five bits,
// least significant first, each plus 48; bit 5 means that more follow, bit 4 of the last group is
// the sign; from the fourth count on, each is the difference to the count two before.

/** The run lengths in a counts text. Throws RangeError for a text that cannot be one. */
export function readCounts(text) {
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let shift = 0;
    let group;
    do {
      if (at >= text.length || shift > 30) throw new RangeError("mask: counts end inside a number");
      group = text.charCodeAt(at) - 48;
      if (group < 0 || group > 63) throw new RangeError("mask: not COCO counts");
      // Not by shifts: those of JavaScript wrap at 32 bits.
      value += (group & 31) * 2 ** shift;
      shift += 5;
      at += 1;
    } while (group & 32);
    if (group & 16) value -= 2 ** shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

/**
 * A mask's pixels as a Uint8Array of 0 and 1, row by row, height * width long.
 * Throws RangeError when the runs do not add up to the size.
 */
export function decodeMask(text, height, width) {
  const counts = readCounts(text);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total !== height * width || counts.some((count) => count < 0)) {
    throw new RangeError(`mask: the runs do not add up to ${width} x ${height} pixels`);
  }
  const pixels = new Uint8Array(height * width);
  let position = 0;
  for (let run = 0; run < counts.length; run += 1) {
    const end = position + counts[run];
    if (run % 2 === 1) {
      for (let each = position; each < end; each += 1) {
        pixels[(each % height) * width + Math.floor(each / height)] = 1;
      }
    }
    position = end;
  }
  return pixels;
}

/** Whether an encoded crop `{offset, size, counts}` covers a point of the frame. */
export function covers(mask, x, y) {
  if (!mask || mask.encoding !== "rle") return false;
  const column = Math.floor(x) - mask.offset[0];
  const row = Math.floor(y) - mask.offset[1];
  const [height, width] = mask.size;
  if (column < 0 || row < 0 || column >= width || row >= height) return false;
  const wanted = column * height + row;
  let position = 0;
  const counts = readCounts(mask.counts);
  for (let run = 0; run < counts.length; run += 1) {
    position += counts[run];
    if (wanted < position) return run % 2 === 1;
  }
  return false;
}
