// The state of a stream as a word and an icon.

const STATES = {
  live: { text: "live", iconName: "live" },
  connecting: { text: "connecting", iconName: "waiting" },
  retrying: { text: "reconnecting", iconName: "waiting" },
  ended: { text: "ended", iconName: "ended" },
  stopped: { text: "stopped", iconName: "lost" },
};

/** How to show a stream's state: {name, text, iconName}; `name` is a CSS suffix. */
export function streamState(stream) {
  if (stream.paused) return { name: "paused", text: "paused", iconName: "paused" };
  const isWaiting = ["connecting", "retrying"].includes(stream.state);
  if (stream.whip && isWaiting) {
    return { name: "connecting", text: "waiting for a publisher", iconName: "waiting" };
  }
  const known = STATES[stream.state];
  return known
    ? { name: stream.state, ...known }
    : { name: "connecting", text: String(stream.state), iconName: "waiting" };
}

const STANDINGS = {
  waiting: "starts objects automatically",
  looking: "starts objects automatically",
  standing_still: "paused: starts no objects now",
  failing: "cannot start objects",
  stuck: "cannot start objects",
};

/** The detector of a stream: {text, hint}, both empty without one. */
export function starterState(stream) {
  const { starter } = stream;
  if (!starter) return { text: "", hint: "" };
  const text = STANDINGS[starter.state] ?? String(starter.state);
  const counts = `${starter.kind}: ${starter.started} started, ${starter.found} found again`;
  return { text, hint: [counts, starter.reason].filter(Boolean).join("; ") };
}
