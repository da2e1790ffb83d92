"""FFmpeg's WHIP muxer as a publisher, for ``test_whip_publishers``: its own process, because it
holds Python's lock while it waits for the server.

    python ffmpeg_publisher.py URL CERTIFICATE KEY FRAMES
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av

from tests.streamer.webrtc.numbered_scene import draw

WIDTH, HEIGHT, RATE_HZ = 320, 240, 30


def main(url: str, certificate: str, key: str, frames: int) -> None:
    """Send the given number of numbered frames, in real time."""
    options = {"cert_file": certificate, "key_file": key, "handshake_timeout": "20000"}
    with av.open(url, "w", format="whip", options=options) as container:
        stream = container.add_stream("libx264", rate=RATE_HZ)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, RATE_HZ)
        stream.options = {"profile": "baseline", "tune": "zerolatency", "bf": "0", "g": "30"}
        began_s = time.monotonic()
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number, WIDTH, HEIGHT), format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                container.mux(packet)
            time.sleep(max(0.0, began_s + number / RATE_HZ - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
