// How long to wait before trying again: doubling, with a ceiling and a random share.

const FIRST_MS = 400;
const LONGEST_MS = 5000;

/** Waiting times for one connection; `reset` once it works. */
export class Backoff {
  #next = FIRST_MS;

  /** The time to wait now, in ms. Random, so that many pages do not reconnect at once. */
  delay() {
    const delay = this.#next * (0.7 + 0.6 * Math.random());
    this.#next = Math.min(this.#next * 2, LONGEST_MS);
    return delay;
  }

  reset() {
    this.#next = FIRST_MS;
  }
}
