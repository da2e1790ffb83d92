"""The scripted servers speak their protocols: a source reads each picture once, in order."""

from __future__ import annotations

import pytest

from streamer.config.streams import StreamConfig
from streamer.sources import make_source
from tests.integration.rtsp.clips import CLIP_LENGTH, read_number
from tests.scripted.media import pieces
from tests.scripted.rtmp import ScriptedRtmpServer
from tests.scripted.server import ScriptedServer, Sending
from tests.streamer.sources.recorder import RunningSource


def camera(scheme: str, media: list[bytes]) -> ScriptedServer:
    def script(camera: Sending) -> None:
        if scheme == "udp":  # a receiver that is not there yet hears nothing
            camera.wait(0.3)
        camera.play(media, rate_hz=100)

    if scheme == "rtmp":
        return ScriptedRtmpServer(script)
    return ScriptedServer(script, scheme)


@pytest.mark.parametrize("scheme", ["tcp", "http", "udp", "rtmp"])
def test_a_source_reads_what_a_script_sends(scheme: str) -> None:
    container, sound = ("flv", "aac") if scheme == "rtmp" else ("mpegts", "mp2")
    media = pieces(container, 40, sound=sound)
    with camera(scheme, media) as server:
        # Datagrams have no end: there, silence is the end. Elsewhere nobody waits for the timeout.
        config = StreamConfig(url=server.url, read_timeout_s=3 if scheme == "udp" else 20)
        with RunningSource(make_source("gate", config)) as source:
            source.wait_for_end()
    numbers = [read_number(frame.pixels.rgb()) for frame in source.output.frames]
    assert numbers[:30] == [index % CLIP_LENGTH for index in range(30)]
