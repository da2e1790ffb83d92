// The state of a stream in a word and a pictogram.

const STATES = {
  live: { text: "live", iconName: "live" },
  connecting: { text: "connecting", iconName: "waiting" },
  retrying: { text: "trying again", iconName: "waiting" },
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
