// View settings that this browser remembers. No secrets are stored here.

const PREFIX = "masklet.";

/** A remembered value, or `otherwise` (also where the browser allows no storage). */
export function remembered(name, otherwise) {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise; // storage is switched off, or holds what an older page wrote
  }
}

/** Keep a value for the next visit, where the browser allows it. */
export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Private windows and full storage: the choice lasts as long as the page.
  }
}
