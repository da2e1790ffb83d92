// The control API as functions: JSON in and out, and refusals as errors with advice.

const TIMEOUT_MS = 35_000; // the daemon answers a prompt within 30 s
const SEARCH_TIMEOUT_MS = 70_000; // the daemon ends a search after 60 s

/** A refusal (RFC 9457 problem details), or status 0 when the daemon was not reached. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the daemon answered ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
  }
}

/** Calls of one daemon, the one that served the page. `onUnauthorised` is called for every 401. */
export class Api {
  constructor({ onUnauthorised = () => {} } = {}) {
    this.onUnauthorised = onUnauthorised;
  }

  info = () => this.#call("GET", "v1/info");
  fleet = () => this.#call("GET", "v1/fleet");
  streams = async () => listIn(await this.#call("GET", "v1/streams"), "streams");
  stream = (id) => this.#call("GET", path(id));
  addStream = (settings) => this.#call("POST", "v1/streams", settings);
  changeStream = (id, settings) => this.#call("PATCH", path(id), settings);
  removeStream = (id) => this.#call("DELETE", path(id));
  pause = (id) => this.#call("POST", path(id, "pause"));
  resume = (id) => this.#call("POST", path(id, "resume"));

  objects = async (id) => listIn(await this.#call("GET", path(id, "objects")), "objects");
  startObject = (id, prompt) => this.#call("POST", path(id, "objects"), prompt);
  correctObject = (id, objectId, prompt) =>
    this.#call("POST", path(id, "objects", objectId, "prompts"), { ...prompt, correct: true });
  segments = (id, search) =>
    this.#call("POST", path(id, "segments"), search, { timeoutMs: SEARCH_TIMEOUT_MS });
  preview = (id, prompt) => this.#call("POST", path(id, "preview"), prompt);
  changeObject = (id, objectId, change) =>
    this.#call("PATCH", path(id, "objects", objectId), change);
  removeObject = (id, objectId, options) =>
    this.#call("DELETE", path(id, "objects", objectId), undefined, options);

  /** Exchange a token for the cookie that authorises pictures, sockets and events. */
  login = (token) =>
    this.#call("POST", "v1/login", undefined, { headers: { Authorization: `Bearer ${token}` } });
  logout = () => this.#call("POST", "v1/logout");

  async #call(method, url, body, { headers = {}, keepalive = false, timeoutMs } = {}) {
    const response = await send(url, {
      method,
      keepalive,
      headers: body === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs ?? TIMEOUT_MS),
    });
    if (response.status === 401 && url !== "v1/login") this.onUnauthorised();
    if (!response.ok) throw await refusal(response);
    return response.status === 204 ? null : response.json();
  }
}

/** `fetch` with a time limit; a daemon that is not reached is an ApiError of status 0. */
export async function send(url, options) {
  try {
    return await fetch(url, {
      credentials: "same-origin", signal: AbortSignal.timeout(TIMEOUT_MS), ...options,
    });
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw new ApiError(0, { detail: "The daemon does not respond. Is it running?" });
  }
}

/** The ApiError of an answer that is not a success. */
export async function refusal(response) {
  let problem = { title: `${response.status} ${response.statusText}` };
  try {
    problem = await response.json();
  } catch {
    // A proxy answered with a page of its own.
  }
  return new ApiError(response.status, problem);
}

/** The URL of something that belongs to a stream. Relative: the page may be under a proxy's prefix. */
export function path(streamId, ...parts) {
  return ["v1/streams", streamId, ...parts].map((part, index) =>
    index === 0 ? part : encodeURIComponent(part)).join("/");
}

function listIn(answer, name) {
  return Array.isArray(answer) ? answer : answer[name];
}
