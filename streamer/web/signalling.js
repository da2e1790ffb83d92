// The exchange that WHIP (RFC 9725) and WHEP share: an offer out, an answer and a session back.

import { refusal, send } from "./api.js";

const GATHERING_MS = 1500;

/**
 * Offer `peer`'s tracks at `url` and apply the answer. Returns `{session, headers}`: the session's
 * URL, for DELETE, and the answer's headers. Throws ApiError when the daemon refuses.
 */
export async function exchangeOffer(peer, url) {
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  const response = await send(url, {
    method: "POST",
    headers: { "Content-Type": "application/sdp", Accept: "application/sdp" },
    body: peer.localDescription.sdp,
  });
  if (!response.ok) throw await refusal(response);
  const session = new URL(response.headers.get("Location"), response.url).href;
  try {
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  } catch (error) {
    endSession(session); // closed meanwhile, or an answer this browser cannot use
    throw error;
  }
  return { session, headers: response.headers };
}

/**
 * End a session, and then close its `peer`: a closed peer's goodbye would end the session before
 * the DELETE arrives. Works while the page closes; errors of a daemon that is gone are ignored.
 */
export function endSession(session, peer = null) {
  fetch(session, { method: "DELETE", credentials: "same-origin", keepalive: true })
    .catch(() => {})
    .finally(() => peer?.close());
}

/** All of this machine's candidates in one offer: no server is contacted, so it takes milliseconds. */
function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHERING_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}
