// The colours of objects: Okabe and Ito's set, distinguishable with any colour vision.
// Black is left out: it vanishes on a dark picture. The daemon's overlay uses the same order.

export const PALETTE = [
  { name: "orange", value: "#e69f00" },
  { name: "sky blue", value: "#56b4e9" },
  { name: "bluish green", value: "#009e73" },
  { name: "yellow", value: "#f0e442" },
  { name: "blue", value: "#0072b2" },
  { name: "vermillion", value: "#d55e00" },
  { name: "reddish purple", value: "#cc79a7" },
];

/** The colour of an object as "#rrggbb": its own if one was chosen, else by its id. */
export function objectColour(id, chosen = null) {
  if (chosen && /^#[0-9a-fA-F]{6}$/.test(chosen)) return chosen.toLowerCase();
  return PALETTE[(((id - 1) % PALETTE.length) + PALETTE.length) % PALETTE.length].value;
}

/** "#rrggbb" as [red, green, blue], 0 to 255. */
export function channels(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

/** Black or white, whichever is more readable on this colour (relative luminance of WCAG 2). */
export function inkOn(colour) {
  const [red, green, blue] = channels(colour).map((channel) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}
