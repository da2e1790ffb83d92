// What the tests need to know of a page and cannot see from outside; nothing of the page is changed.
//
// - instruments.captured: [number, media time, Unix time in ms when it was read] of every picture of
//   the camera, in Chromium. A busy page reads late: media time, also in ms, is what the camera itself counted
// - instruments.iceServers(): servers that the page's peer connections were told to ask
// - instruments.oddTexts: texts that showed a value instead of words or a number, such as "NaN %"
// - instruments.watch(video): from now on [number, RTP time, Unix time in ms] of every picture shown

window.instruments = (() => {
  const captured = [];
  const connections = [];
  // Bound: the newest 4096 entries, minutes of pictures; a test reads them before.
  const keep = (list, entry) => {
    list.push(entry);
    if (list.length > 4096) list.shift();
  };

  async function readCamera(track) {
    const reader = new MediaStreamTrackProcessor({ track: track.clone() }).readable.getReader();
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done) return;
      const time = performance.timeOrigin + performance.now();
      keep(captured, [frameCounter.read(frame), frame.timestamp / 1000, time]);
      frame.close();
    }
  }

  if (navigator.mediaDevices && window.MediaStreamTrackProcessor) { // Firefox has none
    const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (constraints) => {
      const stream = await getUserMedia(constraints);
      for (const track of stream.getVideoTracks()) void readCamera(track);
      return stream;
    };
  }

  const oddTexts = [];
  const ODD = /\b(NaN|undefined|null|Infinity)\b|\[object /;
  new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
      for (const node of [target, ...addedNodes]) {
        if (node.nodeName === "SCRIPT" || node.parentNode?.nodeName === "SCRIPT") continue;
        // Of an element only what was added to it, and nothing of a document or a doctype.
        const text = node.nodeType === Node.TEXT_NODE || node !== target ? node.textContent : "";
        if (ODD.test(text ?? "")) keep(oddTexts, text);
      }
    }
  }).observe(document, { childList: true, characterData: true, subtree: true });

  const PeerConnection = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends PeerConnection {
    constructor(...parameters) {
      super(...parameters);
      connections.push(this);
    }
  };

  function watch(video) {
    const shown = [];
    const each = (now, metadata) => {
      const time = performance.timeOrigin + metadata.expectedDisplayTime;
      keep(shown, [frameCounter.read(video), metadata.rtpTimestamp ?? null, time]);
      video.requestVideoFrameCallback(each);
    };
    video.requestVideoFrameCallback(each);
    return shown;
  }

  return {
    captured,
    connections,
    oddTexts,
    iceServers: () =>
      connections.flatMap((each) => each.getConfiguration().iceServers.flatMap((server) => server.urls)),
    watch,
  };
})();
