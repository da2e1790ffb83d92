"""Makers of odd media: each writes one file into a folder and returns its path."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.integration.rtsp.clips import encode, numbered_picture, write_clip
from tests.scripted.media import pieces, with_late_video, without_pid

Make = Callable[[Path], Path]
_FAST = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "scenecut=0:threads=1"}


def clip(
    name: str,
    codec: str = "libx264",
    *,
    size: tuple[int, int] = (160, 128),
    layout: str = "yuv420p",
    times: Iterable[Fraction | int] = range(12),
    options: dict[str, str] | None = None,
    interlaced: bool = False,
    keyframe_every: int = 6,
) -> Make:
    """A clip with numbered pictures at ``times``, in 25ths of a second."""

    def make(folder: Path) -> Path:
        path = folder / name
        fast = _FAST if codec == "libx264" else {}
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25, options={**fast, **(options or {})})
            stream.width, stream.height, stream.pix_fmt = *size, layout
            stream.codec_context.time_base = Fraction(1, 25_000)
            stream.codec_context.gop_size = keyframe_every
            for index, time in enumerate(times):
                picture = numbered_picture(index, *size)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(format=layout)
                frame.pts, frame.time_base = round(time * 1000), Fraction(1, 25_000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


def joined(name: str, *parts: list[bytes]) -> Make:
    """A file of several that were joined with ``cat``."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(b"".join(b"".join(part) for part in parts))
        return path

    return make


def raw(name: str, *sizes: tuple[int, int]) -> Make:
    """Four pictures of each size in a stream without times."""
    units = [
        unit for width, height in sizes for unit in encode("h264", 4, width=width, height=height)
    ]
    return joined(name, units)


def damaged(name: str, count: int) -> Make:
    """A transport stream of ``count`` pictures with two bytes in a thousand changed."""

    def make(folder: Path) -> Path:
        noise = random.Random(7)
        data = bytearray(b"".join(pieces("mpegts", count)))
        for _ in range(len(data) // 500):
            at = noise.randrange(188, len(data))
            if at % 188 >= 20:  # the frame of the packets stays
                data[at] = noise.randrange(256)
        path = folder / name
        path.write_bytes(bytes(data))
        return path

    return make


def truncated(name: str, share: float) -> Make:
    """The first part of a clip."""

    def make(folder: Path) -> Path:
        whole = write_clip(folder / f"whole_{name}").read_bytes()
        path = folder / name
        path.write_bytes(whole[: int(len(whole) * share)])
        return path

    return make


def late_video(name: str) -> Make:
    """An FLV file whose video begins four seconds after its sound."""
    return joined(name, with_late_video(pieces("flv", 120, sound="aac"), 4.0))


def silent_track(name: str) -> Make:
    """A transport stream whose tables name a track of video that never comes."""
    return joined(
        name, [without_pid(b"".join(pieces("mpegts", 20, sound="mp2", first_pid=256)), 256)]
    )


def with_data(name: str) -> Make:
    """Sound first, then ten packets of data before each picture."""

    def make(folder: Path) -> Path:
        path = folder / name
        with av.open(str(path), "w", format="mpegts") as container:
            audio = container.add_stream("mp2", rate=48_000, layout="mono")
            data = container.add_data_stream("klv")
            video = container.add_stream("libx264", rate=25, options=_FAST)
            video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
            for index in range(12):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), "s16", "mono")
                sound.sample_rate, sound.pts = 48_000, index * 1920
                container.mux(audio.encode(sound))
                for part in range(10):
                    packet = av.Packet(bytes(16))
                    packet.stream, packet.time_base = data, Fraction(1, 1000)
                    packet.pts = packet.dts = index * 40 + part
                    container.mux(packet)
                frame = av.VideoFrame.from_ndarray(numbered_picture(index), format="rgb24")
                frame = frame.reformat(format="yuv420p")
                frame.pts = index
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        return path

    return make


def content(name: str, data: bytes) -> Make:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    return make


def sound_alone(name: str) -> Make:
    """A file without a picture."""

    def make(folder: Path) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            audio = container.add_stream("aac", rate=44_100, layout="mono")
            for index in range(10):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts = 44_100, index * 1024
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
        return path

    return make
