"""Publish a video file or a webcam to Masklet by WHIP (RFC 9725), with aiortc.

    pip install aiortc
    python publish_whip.py http://127.0.0.1:8080/v1/streams/cam1/whip clip.mp4
    TOKEN=… python publish_whip.py https://gate.example.org:8080/v1/streams/cam1/whip /dev/video0

Ends with the file, or with Ctrl-C. The token needs the scope publish.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import urllib.parse
import urllib.request

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer


def request(method: str, url: str, body: bytes | None = None) -> tuple[str, str]:
    """The answer's body and its Location, as an absolute URL."""
    headers = {"Content-Type": "application/sdp"}
    if "TOKEN" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['TOKEN']}"
    sent = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(sent, timeout=10) as response:
        location = urllib.parse.urljoin(url, response.headers.get("Location") or "")
        return response.read().decode(), location


async def publish(url: str, file: str) -> None:
    # Without this line aiortc asks a public STUN server.
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    is_device = file.startswith("/dev/")
    player = MediaPlayer(file, format="v4l2" if is_device else None)
    connection.addTransceiver(player.video, direction="sendonly")
    await connection.setLocalDescription()
    offer = connection.localDescription.sdp.encode()
    answer, session = await asyncio.to_thread(request, "POST", url, offer)
    try:
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        print(f"publishing {file}", flush=True)
        over = asyncio.Event()
        player.video.on("ended", over.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, over.set)
        await over.wait()
    finally:
        with contextlib.suppress(OSError):  # the daemon may be gone, or may have ended the session
            await asyncio.to_thread(request, "DELETE", session)
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("file")
    arguments = parser.parse_args()
    asyncio.run(publish(arguments.url, arguments.file))


if __name__ == "__main__":
    main()
