// Reads multipart/x-mixed-replace; each picture has its own headers.

// A JPEG of a 4k frame has a few MiB; anything longer is not ours.
const LONGEST_PART = 16 * 1024 * 1024;
const LINE_END = [13, 10];

/** The boundary that a Content-Type names, or null. */
export function boundaryOf(contentType) {
  return /boundary="?([^";]+)"?/i.exec(contentType ?? "")?.[1] ?? null;
}

/** Cuts a byte stream into parts `{headers: Map, body: Uint8Array}`. Bound: LONGEST_PART waiting. */
export class MultipartReader {
  #waiting = new Uint8Array(0);

  constructor(boundary) {
    this.delimiter = new TextEncoder().encode(`--${boundary.replace(/^--/, "")}`);
  }

  /** The parts that these bytes complete. Throws RangeError for a malformed stream. */
  push(bytes) {
    const joined = new Uint8Array(this.#waiting.length + bytes.length);
    joined.set(this.#waiting);
    joined.set(bytes, this.#waiting.length);
    this.#waiting = joined;
    const parts = [];
    for (let part = this.#next(); part !== null; part = this.#next()) parts.push(part);
    if (this.#waiting.length > LONGEST_PART) throw new RangeError("a part is too long");
    return parts;
  }

  #next() {
    const start = find(this.#waiting, this.delimiter, 0);
    if (start < 0) return null;
    const headersStart = start + this.delimiter.length + LINE_END.length;
    const headersEnd = find(this.#waiting, [...LINE_END, ...LINE_END], headersStart - 2);
    if (headersEnd < 0) return null;
    const headers = new Map();
    const text = new TextDecoder().decode(this.#waiting.subarray(headersStart, headersEnd));
    for (const line of text.split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const bodyStart = headersEnd + 4;
    const length = Number(headers.get("content-length") ?? Number.NaN);
    const bodyEnd = Number.isInteger(length)
      ? bodyStart + length
      : find(this.#waiting, [...LINE_END, ...this.delimiter], bodyStart);
    if (bodyEnd < bodyStart || bodyEnd > this.#waiting.length) return null;
    const body = this.#waiting.slice(bodyStart, bodyEnd);
    this.#waiting = this.#waiting.slice(bodyEnd);
    return { headers, body };
  }
}

function find(bytes, wanted, from) {
  for (let at = bytes.indexOf(wanted[0], from); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (at + wanted.length > bytes.length) return -1;
    let matched = 1;
    while (matched < wanted.length && bytes[at + matched] === wanted[matched]) matched += 1;
    if (matched === wanted.length) return at;
  }
  return -1;
}
