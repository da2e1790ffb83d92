// A publisher and a viewer without a page around them, for measurements and for a second client.

window.peers = (() => {
  async function exchange(peer, url) {
    await peer.setLocalDescription(await peer.createOffer());
    if (peer.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        peer.addEventListener("icegatheringstatechange", () => {
          if (peer.iceGatheringState === "complete") resolve();
        });
      });
    }
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription.sdp,
    });
    if (answer.status !== 201) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    return answer.headers;
  }

  /** Publish the camera by WHIP; pictures keep their size, as the page's own camera does. */
  async function publish(streamId, codec = "video/VP8") {
    const media = await navigator.mediaDevices.getUserMedia({ video: true });
    const peer = new RTCPeerConnection();
    const [track] = media.getVideoTracks();
    track.contentHint = "motion";
    const transceiver = peer.addTransceiver(track, { direction: "sendonly" });
    const { codecs } = RTCRtpReceiver.getCapabilities("video");
    transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === codec));
    await exchange(peer, `/v1/streams/${streamId}/whip`);
    const parameters = transceiver.sender.getParameters();
    parameters.degradationPreference = "maintain-resolution";
    await transceiver.sender.setParameters(parameters);
  }

  /** Watch by WHEP; `{shown, offset}`: see instruments.watch, and the server's RTP offset. */
  async function watch(streamId, view = "clean") {
    const peer = new RTCPeerConnection();
    const { receiver } = peer.addTransceiver("video", { direction: "recvonly" });
    receiver.jitterBufferTarget = 0;
    const headers = await exchange(peer, `/v1/streams/${streamId}/whep?view=${view}`);
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = new MediaStream([receiver.track]);
    document.documentElement.append(video);
    const shown = instruments.watch(video);
    await video.play();
    return { shown, offset: Number(headers.get("Masklet-RTP-Offset")) };
  }

  return { publish, watch };
})();
