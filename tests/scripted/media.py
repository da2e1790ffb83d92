"""What scripted servers send: containers in pieces, one for each numbered picture."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import av
import numpy as np

from tests.integration.rtsp.clips import HEIGHT, WIDTH, numbered_picture

RATE_HZ = 25
SCRIPT_TAG, VIDEO_TAG = 18, 9


def pieces(
    container_format: str,
    count: int,
    *,
    codec: str = "libx264",
    sound: str | None = None,
    keyframe_every: int = 10,
    first_pid: int | None = None,
    start: int = 0,
    options: Mapping[str, str] | None = None,
    codec_options: Mapping[str, str] | None = None,
) -> list[bytes]:
    """``count`` pictures at 25 Hz with the number ``start`` and up; the last piece ends the file.

    ``sound`` names a codec for a track of silence. ``first_pid``: of a transport stream.
    """
    buffer = io.BytesIO()
    given = dict(options or {})
    if first_pid is not None:
        given["mpegts_start_pid"] = str(first_pid)
    found, done = [], 0
    fast = {"preset": "ultrafast", "tune": "zerolatency"} if codec.startswith("libx26") else {}
    if codec == "libx264":
        fast["x264-params"] = "scenecut=0:threads=1"
    elif codec == "libx265":
        fast["x265-params"] = "log-level=none:pools=none:frame-threads=1:scenecut=0"
    with av.open(buffer, "w", format=container_format, options=given) as container:
        video = container.add_stream(
            codec, rate=RATE_HZ, options={**fast, **dict(codec_options or {})}
        )
        video.width, video.height = WIDTH, HEIGHT
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.codec_context.gop_size = keyframe_every
        audio = container.add_stream(sound, rate=44_100) if sound is not None else None
        if audio is not None:
            audio.layout = "mono"
        samples = 44_100 // RATE_HZ
        for index in range(start, start + count):
            frame = av.VideoFrame.from_ndarray(numbered_picture(index), format="rgb24")
            frame = frame.reformat(format=video.pix_fmt)
            frame.pts = index
            container.mux(video.encode(frame))
            if audio is not None:
                planar = "fltp" if sound == "aac" else "s16"
                silence = np.zeros((1, samples), np.float32 if sound == "aac" else np.int16)
                heard = av.AudioFrame.from_ndarray(silence, planar, "mono")
                heard.sample_rate, heard.pts = 44_100, index * samples
                container.mux(audio.encode(heard))
            found.append(buffer.getvalue()[done:])
            done = buffer.tell()
        container.mux(video.encode(None))
    found[-1] += buffer.getvalue()[done:]
    return found


def with_duration(flv: list[bytes], duration_s: float) -> list[bytes]:
    """``flv`` with a duration in its metadata, as relays of recordings write it."""
    at = flv[0].index(b"duration") + len(b"duration") + 1
    first = flv[0][:at] + struct.pack(">d", duration_s) + flv[0][at + 8 :]
    return [first, *flv[1:]]


def with_late_video(flv: list[bytes], late_s: float, *, with_metadata: bool = False) -> list[bytes]:
    """``flv``, tag by tag, with no sign of video before the first keyframe after ``late_s``.

    The first piece, the header, stands for the time before any tag; metadata name the codec.
    """
    data = b"".join(flv)
    found: list[tuple[int, bytes]] = []
    setup, place = b"", 13
    while place < len(data):
        size = 11 + int.from_bytes(data[place + 1 : place + 4], "big") + 4
        tag = data[place : place + size]
        place += size
        time_ms = int.from_bytes(tag[4:7], "big")
        is_video, is_setup, is_keyframe = tag[0] == VIDEO_TAG, tag[12] == 0, tag[11] >> 4 == 1
        if tag[0] == SCRIPT_TAG and not with_metadata:
            continue
        if is_video and is_setup:
            setup = setup or tag
            continue
        if is_video and setup:
            if time_ms < late_s * 1000 or not is_keyframe:
                continue
            found.append((time_ms, setup[:4] + tag[4:8] + setup[8:]))
            setup = b""
        found.append((time_ms, tag))
    found.sort(key=lambda each: each[0])
    return [data[:13], *(tag for _, tag in found)]


def without_pid(stream: bytes, pid: int) -> bytes:
    """A transport stream less the packets of one track; its tables still name it."""
    packets = (stream[at : at + 188] for at in range(0, len(stream), 188))
    return b"".join(each for each in packets if int.from_bytes(each[1:3], "big") & 8191 != pid)


def sound_alone(seconds: float) -> list[bytes]:
    """A transport stream whose tables name no video yet, in pieces of a 25th of a second."""
    buffer = io.BytesIO()
    found, done = [], 0
    with av.open(buffer, "w", format="mpegts", options={"mpegts_start_pid": "300"}) as container:
        audio = container.add_stream("mp2", rate=44_100, layout="mono")
        for index in range(round(seconds * RATE_HZ)):
            samples = 44_100 // RATE_HZ
            heard = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), "s16", "mono")
            heard.sample_rate, heard.pts = 44_100, index * samples
            container.mux(audio.encode(heard))
            found.append(buffer.getvalue()[done:])
            done = buffer.tell()
    found[-1] += buffer.getvalue()[done:]
    return found
