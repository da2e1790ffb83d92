"""Files: complete and in order, paced, looped, damaged, and none at all."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.sources import make_source
from streamer.sources.base import Source
from streamer.types import ClockSource
from tests.integration.rtsp.clips import (
    CLIP_LENGTH,
    HEIGHT,
    WIDTH,
    encode,
    numbered_picture,
    read_number,
    write_clip,
)
from tests.streamer.sources.recorder import Recorder, RunningSource, run_to_end


def file_source(path: Path | str, *, paced: bool = False, loop: bool = False) -> Source:
    return make_source("clip", StreamConfig(url=str(path), paced=paced, loop=loop))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pictures, 0.64 s."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip: one.mp4")


def media_times_s(output: Recorder) -> list[float]:
    return [float((frame.pts or 0) * frame.time_base) for frame in output.frames]


def test_unpaced_file_gives_every_picture_in_order(clip: Path) -> None:
    output, error = run_to_end(file_source(clip))
    assert error is None
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == list(range(CLIP_LENGTH))
    assert media_times_s(output) == pytest.approx([index / 25 for index in range(CLIP_LENGTH)])
    assert not output.drops
    assert not output.resets


def test_capture_time_is_the_files_clock(clip: Path) -> None:
    for paced in (False, True):
        output, _ = run_to_end(file_source(clip, paced=paced))
        times_ns = [frame.capture_time_ns for frame in output.frames]
        assert all(frame.clock_source is ClockSource.FILE for frame in output.frames)
        assert abs(times_ns[0] - time.time_ns()) < 20e9
        steps_ns = [later - earlier for earlier, later in pairwise(times_ns)]
        assert all(abs(step_ns - 40e6) < (15e6 if paced else 1e3) for step_ns in steps_ns[1:])


def test_paced_file_takes_its_real_time(clip: Path) -> None:
    started_s = time.monotonic()
    output, error = run_to_end(file_source(clip, paced=True))
    assert error is None
    assert len(output.frames) == CLIP_LENGTH
    assert 0.59 <= time.monotonic() - started_s < 5


def test_stop_ends_a_paced_file_at_once(tmp_path: Path) -> None:
    slow = write_clip(tmp_path / "slow.mp4", rate_hz=1, count=5)
    with RunningSource(file_source(slow, paced=True)) as source:
        source.wait_for_frames(1)
        stopped_s = time.monotonic()
    assert time.monotonic() - stopped_s < 0.9


def test_loop_continues_without_a_reset(clip: Path) -> None:
    stop = threading.Event()
    output = Recorder(lambda _: stop.set() if len(output.frames) == 40 else None)
    file_source(clip, loop=True).run(output, stop)
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == [
        index % CLIP_LENGTH for index in range(40)
    ]
    assert media_times_s(output) == pytest.approx([index / 25 for index in range(40)])
    assert not output.resets


def test_pictures_held_back_by_the_decoder_come_at_the_end(tmp_path: Path) -> None:
    """B-frames reorder: the last pictures only come out when the decoder is flushed."""
    path = tmp_path / "b_frames.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(12):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    output, error = run_to_end(file_source(path))
    assert error is None
    times_s = media_times_s(output)
    assert len(times_s) == 12
    assert times_s == sorted(times_s)


def test_presentation_times_that_restart_are_reported(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts").read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first + first)
    output, error = run_to_end(file_source(joined))
    assert error is None
    assert len(output.frames) >= 2 * CLIP_LENGTH - 2
    assert len(output.resets) == 1
    assert "went back" in output.resets[0]


def test_a_change_of_size_within_a_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "sizes.h264"
    path.write_bytes(b"".join([*encode("h264", 4), *encode("h264", 4, width=320, height=192)]))
    output, error = run_to_end(file_source(path))
    assert error is None
    sizes = [(frame.pixels.height, frame.pixels.width) for frame in output.frames]
    assert sizes == [(128, 160)] * 4 + [(192, 320)] * 4
    times_s = media_times_s(output)
    assert times_s == sorted(set(times_s)), "a raw stream has no times; they are made up in order"


def test_a_rotated_clip_is_delivered_upright(tmp_path: Path) -> None:
    """Phones store portrait video lying on its side, with the angle beside it."""
    path = tmp_path / "portrait.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_rotation(-90)  # a quarter turn clockwise
        picture = av.VideoFrame.from_ndarray(numbered_picture(3), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    output, error = run_to_end(file_source(path))
    assert error is None
    image = output.frames[0].pixels.rgb()
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert image.flags.c_contiguous
    red_half = image[:, HEIGHT // 2 + 8 :]  # the upper half, turned clockwise, is the right half
    assert red_half[..., 0].mean() > 150 > red_half[..., 1].mean()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is no video\n" * 100, SourceFailure.GARBAGE),
        (b"", SourceFailure.GARBAGE),
    ],
)
def test_a_file_that_is_no_video(content: bytes, reason: SourceFailure, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    output, error = run_to_end(file_source(path, loop=True))
    assert error is not None
    assert error.reason is reason
    assert not output.frames


def test_missing_file_directory_and_device() -> None:
    for url, reason in [
        ("/nowhere/clip.mp4", SourceFailure.NOT_FOUND),
        ("/", SourceFailure.NOT_FOUND),
        ("/dev/video987", SourceFailure.NOT_FOUND),
    ]:
        output, error = run_to_end(file_source(url))
        assert error is not None
        assert error.reason is reason, str(error)
        assert str(error).startswith(f"clip: {url} ")
        assert not output.frames


def test_audio_file_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame("s16", "mono", 800)
        frame.rate = 8000
        container.mux(stream.encode(frame))
    _, error = run_to_end(file_source(path))
    assert error is not None
    assert error.reason is SourceFailure.NO_VIDEO
