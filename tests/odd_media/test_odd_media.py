"""Odd files: the pictures that come of each, their size and times, what is lost, or the reason."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.sources import make_source
from streamer.sources.pixels import pixels_of
from streamer.types import DropReason
from tests.integration.rtsp.clips import CLIP_LENGTH, numbered_picture, read_number
from tests.odd_media.make import (
    Make,
    clip,
    content,
    damaged,
    joined,
    late_video,
    raw,
    silent_track,
    sound_alone,
    truncated,
    with_data,
)
from tests.scripted import media as parts
from tests.scripted.media import pieces
from tests.streamer.sources.recorder import run_to_end

EVEN = tuple(index / 25 for index in range(12))
WRAP = round(2**33 / 90_000 * 25) - 6  # six pictures before the clock of a transport stream wraps
IRREGULAR = (0, 1, Fraction(5, 4), 12, Fraction(49, 4), 50)
# PNG's: its length and name, width, height, 8 bits of RGB.
HUGE_HEADER = struct.pack(">I4sIIBBBBB", 13, b"IHDR", 100_000, 100_000, 8, 2, 0, 0, 0)


@dataclass(frozen=True)
class Odd:
    """A file and what comes of it; ``times`` in seconds after the first, ``size`` width, height."""

    make: Make
    numbers: Sequence[int] = range(12)
    times: Sequence[float] = EVEN
    size: tuple[int, int] = (160, 128)
    resets: int = 0
    reason: SourceFailure | None = None


def refused(make: Make, reason: SourceFailure = SourceFailure.GARBAGE) -> Odd:
    return Odd(make, numbers=(), times=(), reason=reason)


# The orientations of a display matrix are in tests/streamer/sources.
MEDIA = {
    "odd size": Odd(clip("a.mkv", "ffv1", size=(161, 127)), size=(161, 127)),
    "small size": Odd(clip("a.mkv", "ffv1", size=(17, 9)), size=(17, 9)),
    "wide": Odd(clip("a.mkv", "ffv1", size=(4096, 16)), size=(4096, 16)),
    "interlaced": Odd(clip("a.ts", options={"x264-params": "tff=1:scenecut=0"})),
    "irregular times": Odd(
        clip("a.mkv", times=IRREGULAR),
        numbers=range(6),
        times=[float(time / 25) for time in IRREGULAR],
    ),
    "a picture a minute": Odd(  # a gap of more than 10 s is reported, and not waited for
        clip("a.mkv", times=(0, 1500, 3000)), numbers=range(3), times=(0, 60, 120), resets=1
    ),
    "250 pictures a second": Odd(
        clip("a.mkv", times=[Fraction(index, 10) for index in range(12)]),
        times=[index / 250 for index in range(12)],
    ),
    "30000/1001 Hz": Odd(
        clip("a.mp4", times=[Fraction(index * 1001 * 25, 30_000) for index in range(12)]),
        times=[index * 1001 / 30_000 for index in range(12)],
    ),
    "late first time": Odd(clip("a.mkv", times=range(250, 262))),
    "clock that wraps": Odd(clip("a.ts", times=range(WRAP, WRAP + 12))),
    "B-frames": Odd(clip("a.mp4", options={"bf": "3", "tune": "film", "preset": "fast"})),
    "open groups of pictures": Odd(
        clip("a.ts", options={"bf": "2", "tune": "film", "x264-params": "open-gop=1"})
    ),
    "alpha": Odd(clip("a.webm", "libvpx-vp9", layout="yuva420p", options={"deadline": "realtime"})),
    "GIF": Odd(clip("a.gif", "gif", layout="rgb8")),
    "one photograph": Odd(
        clip("a.jpg", "mjpeg", layout="yuvj420p", times=(0,)), numbers=(0,), times=(0,)
    ),
    "another format's suffix": Odd(joined("a.mp4", pieces("mpegts", 12))),
    "sound and data before each picture": Odd(with_data("a.ts")),
    "video four seconds after sound": Odd(
        late_video("a.flv"), numbers=range(100, 120), times=[index / 25 for index in range(20)]
    ),
    "tables that name video after a minute": Odd(
        joined("a.ts", parts.sound_alone(60.0), pieces("mpegts", 12))
    ),
    "size that changes": Odd(
        raw("a.h264", (320, 192), (160, 128)),
        numbers=(0, 1, 2, 3, 0, 1, 2, 3),
        times=EVEN[:8],
    ),
    "programme streams joined": Odd(
        joined(
            "a.mpg",
            pieces("mpeg", 12, codec="mpeg2video"),
            pieces("mpeg", 12, codec="mpeg2video", sound="mp2"),
        ),
        numbers=[*range(12), *range(12)],
        times=[*EVEN, *EVEN],
        resets=1,
    ),
    "Matroska joined": Odd(joined("a.mkv", pieces("matroska", 8), pieces("matroska", 4, start=8))),
    "cut off in the middle": Odd(truncated("a.ts", 0.6), numbers=range(8), times=EVEN[:8]),
    "cut off before its index": refused(truncated("a.mp4", 0.9)),
    "track that sends nothing": refused(silent_track("a.ts"), SourceFailure.NO_VIDEO),
    "sound alone": refused(sound_alone("a.m4a"), SourceFailure.NO_VIDEO),
    "nothing": refused(content("a.mp4", b"")),
    "text": refused(content("a.mp4", b"no video\n" * 999)),
    "zeros": refused(content("a.ts", bytes(200_000))),
    "sync bytes": refused(content("a.ts", b"\x47" * 200_000)),
    "noise": refused(content("a.ts", random.Random(1).randbytes(300_000))),
    "picture of 100,000 × 100,000": refused(
        content("a.png", b"\x89PNG\r\n\x1a\n" + HUGE_HEADER + bytes(5000))
    ),
}


@pytest.mark.parametrize("name", MEDIA)
def test_odd_media(name: str, tmp_path: Path) -> None:
    odd = MEDIA[name]
    path = odd.make(tmp_path)
    output, error = run_to_end(make_source("clip", StreamConfig(url=str(path), paced=False)))
    assert (error and error.reason) == odd.reason
    images = [frame.pixels.rgb() for frame in output.frames]
    assert len(images) == len(odd.numbers)
    if odd.reason is not None:
        return
    assert images[-1].shape == (odd.size[1], odd.size[0], 3)
    assert [read_number(image) for image in images] == [
        number % CLIP_LENGTH for number in odd.numbers
    ]
    times = [float((frame.pts or 0) * frame.time_base) for frame in output.frames]
    assert [time - times[0] for time in times] == pytest.approx(odd.times, abs=0.0011)
    assert len(output.resets) == odd.resets
    assert not output.drops


def test_every_damaged_picture_is_counted(tmp_path: Path) -> None:
    path = damaged("a.ts", 60)(tmp_path)
    output, error = run_to_end(make_source("clip", StreamConfig(url=str(path), paced=False)))
    assert error is None
    lost = sum(output.drops.values())
    assert output.drops[DropReason.CORRUPT] > 0
    assert 58 <= len(output.frames) + lost <= 60


def test_a_file_that_is_not_read_whole_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FFmpeg reads one FLV from a file, whatever follows."""
    path = joined("a.flv", pieces("flv", 12), pieces("flv", 60, sound="aac"))(tmp_path)
    output, _ = run_to_end(make_source("clip", StreamConfig(url=str(path), paced=False)))
    assert len(output.frames) == 12
    assert "bytes at the end were not read" in caplog.text


def test_every_pixel_format_is_shown() -> None:
    """Whatever a decoder returns; big-endian 16-bit RGB is not, as FFmpeg itself cannot make it."""
    picture = av.VideoFrame.from_ndarray(numbered_picture(3), format="rgb24")
    shown = set()
    for name in sorted(av.video.format.names - {"rgb4", "bgr4"}):
        try:
            frame = picture.reformat(format=name)
        except av.FFmpegError:  # one of hardware, or of a sensor: FFmpeg only reads it
            continue
        image = pixels_of(frame).rgb()
        red, grey = image[10:50].mean((0, 1)), image[80:110].mean((0, 1))
        if name.endswith(("555be", "565be")):
            continue
        expected = [82] * 3 if name.startswith(("gray", "ya", "mono")) else [200, 30, 40]
        assert abs(red - expected).max() < 14, name
        assert abs(grey - 62).max() < 8, name
        shown.add(name)
    assert len(shown) > 150
