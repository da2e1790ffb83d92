// Where the picture lies inside its letterbox, and coordinates from the screen to the frame.

/**
 * The largest rectangle of the picture's shape inside a box, centred, as `object-fit: contain`
 * lays it out. `scale` is screen pixels per frame pixel. Null while a size is unknown.
 */
export function containedRectangle(boxWidth, boxHeight, frameWidth, frameHeight) {
  if (!(boxWidth > 0 && boxHeight > 0 && frameWidth > 0 && frameHeight > 0)) return null;
  const scale = Math.min(boxWidth / frameWidth, boxHeight / frameHeight);
  const width = frameWidth * scale;
  const height = frameHeight * scale;
  return { left: (boxWidth - width) / 2, top: (boxHeight - height) / 2, width, height, scale };
}

/** A point of the box in frame pixels, or null when it is on the black bars beside the picture. */
export function toFrame(x, y, rectangle) {
  const point = {
    x: (x - rectangle.left) / rectangle.scale,
    y: (y - rectangle.top) / rectangle.scale,
  };
  const width = rectangle.width / rectangle.scale;
  const height = rectangle.height / rectangle.scale;
  const isInside = point.x >= 0 && point.y >= 0 && point.x <= width && point.y <= height;
  return isInside ? clampToFrame(point, width, height) : null;
}

/** The nearest point that a prompt may name: inside the frame, half open. */
export function clampToFrame(point, width, height) {
  return {
    x: Math.min(Math.max(point.x, 0), Math.max(0, width - 0.01)),
    y: Math.min(Math.max(point.y, 0), Math.max(0, height - 0.01)),
  };
}

/** The box [x0, y0, x1, y1] that two opposite corners span. */
export function boxBetween(first, second) {
  return [
    Math.min(first.x, second.x), Math.min(first.y, second.y),
    Math.max(first.x, second.x), Math.max(first.y, second.y),
  ];
}

/** Where an object is seen, else its expected box; null if unknown. */
export function boxOf({ bbox, bbox_expected: expected }) {
  return bbox[2] > bbox[0] ? bbox : expected ?? null;
}
