// A WHIP publisher in a page, as docs/publishers.md shows it, and its ICE restart.
const FRAGMENT = "application/trickle-ice-sdpfrag";
const attribute = (sdp, name) => sdp.match(new RegExp(`a=${name}:(.*)\r`))[1];

window.publish = async (path, codec) => {
  const camera = await navigator.mediaDevices.getUserMedia({ video: true });
  const peer = (window.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  const options = { direction: "sendonly", streams: [camera] };
  const transceiver = peer.addTransceiver(camera.getVideoTracks()[0], options);
  const codecs = RTCRtpSender.getCapabilities("video").codecs;
  transceiver.setCodecPreferences(
    codecs.filter((each) => [`video/${codec}`, "video/rtx"].includes(each.mimeType)),
  );
  await peer.setLocalDescription();
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/sdp" },
    body: peer.localDescription.sdp,
  });
  window.answer = await response.text();
  window.session = new URL(response.headers.get("Location"), response.url).href;
  await peer.setRemoteDescription({ type: "answer", sdp: answer });
  return response.status;
};

window.restartIce = async () => {
  peer.restartIce();
  const gathered = new Promise((resolve) => {
    peer.onicecandidate = (event) => event.candidate === null && resolve();
  });
  await peer.setLocalDescription();
  await gathered;
  const offer = peer.localDescription.sdp;
  const response = await fetch(session, {
    method: "PATCH",
    headers: { "Content-Type": FRAGMENT, "If-Match": "*" },
    body: [
      `a=ice-ufrag:${attribute(offer, "ice-ufrag")}`,
      `a=ice-pwd:${attribute(offer, "ice-pwd")}`,
      "m=video 9 UDP/TLS/RTP/SAVPF 0",
      "a=mid:0",
      ...offer.split("\r\n").filter((line) => line.startsWith("a=candidate:")),
      "a=end-of-candidates",
      "",
    ].join("\r\n"),
  });
  const fragment = await response.text();
  const renewed = answer
    .replace(/a=ice-ufrag:.*\r/g, `a=ice-ufrag:${attribute(fragment, "ice-ufrag")}\r`)
    .replace(/a=ice-pwd:.*\r/g, `a=ice-pwd:${attribute(fragment, "ice-pwd")}\r`);
  await peer.setRemoteDescription({ type: "answer", sdp: renewed });
  return response.status;
};
