// From pixels to metres on flat ground: the plane homography that four point pairs determine.

/**
 * The 3 x 3 homography (nine numbers, row by row) that takes four pixels to four places.
 * `pairs` are [x, y, X, Y]: pixels and metres. Null when there are not four, when one is not a
 * number, or when three of either kind lie in a line, so that nothing is determined.
 */
export function homographyOf(pairs) {
  if (!Array.isArray(pairs) || pairs.length !== 4) return null;
  if (pairs.some((pair) => pair.length !== 4 || !pair.every(Number.isFinite))) return null;
  const pixels = pairs.map(([x, y]) => [x, y]);
  const metres = pairs.map(([, , x, y]) => [x, y]);
  if (hasThreeInLine(pixels) || hasThreeInLine(metres)) return null;
  // Each pair gives two rows of A h = b, with h33 = 1 (Hartley and Zisserman, 4.1).
  const rows = [];
  for (const [x, y, X, Y] of pairs) {
    rows.push([x, y, 1, 0, 0, 0, -x * X, -y * X, X]);
    rows.push([0, 0, 0, x, y, 1, -x * Y, -y * Y, Y]);
  }
  const solution = solve(rows);
  return solution && [...solution, 1];
}

/** Where a pixel lies on the ground, in metres; null on or above the horizon. */
export function toGround(homography, x, y) {
  const [a, b, c, d, e, f, g, h, i] = homography;
  const depth = g * x + h * y + i;
  if (Math.abs(depth) < 1e-9) return null;
  return { x: (a * x + b * y + c) / depth, y: (d * x + e * y + f) / depth };
}

/** Whether three of the points lie (nearly) in a line: less than 1/1000 of their spread apart. */
export function hasThreeInLine(points) {
  const across = points.map(([x]) => x);
  const down = points.map(([, y]) => y);
  const spread = Math.max(
    Math.max(...across) - Math.min(...across), Math.max(...down) - Math.min(...down));
  for (let skipped = 0; skipped < points.length; skipped += 1) {
    const [a, b, c] = points.filter((_, index) => index !== skipped);
    const doubleArea = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
    if (Math.abs(doubleArea) <= 1e-3 * spread * spread) return true;
  }
  return false;
}

/** Gaussian elimination with row pivots of an augmented matrix; null when it is singular. */
function solve(rows) {
  const size = rows.length;
  for (let column = 0; column < size; column += 1) {
    let pivot = column;
    for (let row = column + 1; row < size; row += 1) {
      if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
    }
    if (Math.abs(rows[pivot][column]) < 1e-12) return null;
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let row = 0; row < size; row += 1) {
      if (row === column) continue;
      const factor = rows[row][column] / rows[column][column];
      for (let entry = column; entry <= size; entry += 1) {
        rows[row][entry] -= factor * rows[column][entry];
      }
    }
  }
  return rows.map((row, index) => row[size] / row[index]);
}
