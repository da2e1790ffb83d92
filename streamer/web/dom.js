// Small builders for page elements. Text only ever becomes text nodes: names are untrusted.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children. Attributes that begin with "on" are listeners, true is
 * an empty attribute, false and null leave it out. Children are nodes or text; null is skipped.
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Replace all children; text and nodes, null is skipped. */
export function fill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

/** Set an element's text only where it differs, so that the page is not laid out or read out again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Drawn on a grid of 16 x 16; "fill" icons are areas, the others are strokes.
const ICONS = {
  visible: { fill: true, paths: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z"] },
  occluded: { paths: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z", "M8 2.5v11", "M5.5 4v8", "M3.5 6v4"] },
  lost: { paths: ["M3.5 3.5l9 9", "M12.5 3.5l-9 9"] },
  live: { fill: true, paths: ["M8 3a5 5 0 1 0 0 10a5 5 0 1 0 0-10z"] },
  waiting: { paths: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z", "M8 5v3l2 1.5"] },
  paused: { paths: ["M5.5 3.5v9", "M10.5 3.5v9"] },
  resume: { fill: true, paths: ["M4.5 3v10l8.5-5z"] },
  ended: { fill: true, paths: ["M4 4h8v8h-8z"] },
  camera: { paths: ["M1.5 4.5h8.5v7h-8.5z", "M10 7l4.5-2.5v7l-4.5-2.5z"] },
  add: { paths: ["M8 3v10", "M3 8h10"] },
  remove: { paths: ["M3 4.5h10", "M6 4.5v-2h4v2", "M4.5 4.5l.6 9h5.8l.6-9"] },
  back: { paths: ["M9.5 3.5l-4.5 4.5l4.5 4.5"] },
  help: { paths: ["M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8", "M8 12.6v.4"] },
  theme: { paths: ["M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12z", "M8 2a4 6 0 0 1 0 12z"] },
  logout: { paths: ["M9 2.5h-6v11h6", "M6.5 8h7.5", "M11.5 5.5l2.5 2.5l-2.5 2.5"] },
  ruler: { paths: ["M2 12l8.5-9.5l3.5 3.2l-8.5 9z", "M5.5 10l1.2 1", "M7.5 7.7l1.2 1", "M9.5 5.4l1.2 1"] },
  find: { paths: ["M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z", "M10.3 10.3l3.7 3.7"] },
  check: { paths: ["M3 8.5l3.5 3.5l6.5-8"] },
};

/** One of the page's icons; decoration only: the text beside it has the same meaning. */
export function icon(name) {
  const drawing = ICONS[name];
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", drawing.fill ? "icon icon-filled" : "icon");
  for (const path of drawing.paths) {
    const part = document.createElementNS(SVG, "path");
    part.setAttribute("d", path);
    svg.append(part);
  }
  return svg;
}
