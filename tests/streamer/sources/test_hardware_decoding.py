"""Decoding on a CUDA device with the CPU as fallback: both give the same pictures.

Without a device, a fake decodes on the CPU and returns what a device returns: NV12 without the
container's properties.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.sources import cuda_decoding, make_source, packet_decoder
from streamer.sources.cuda_decoding import CudaDecodingError, cuda_context, why_no_cuda
from streamer.sources.pixels import YuvPlanes
from streamer.types import DropReason, ImageArray
from tests.integration.rtsp.clips import CLIP_LENGTH, numbered_picture, read_number, write_clip
from tests.streamer.sources.oriented_clips import (
    ORIENTATIONS,
    SHOWN,
    corners,
    write_oriented_clip,
)
from tests.streamer.sources.recorder import Recorder, run_to_end

GONE = av.error.ExternalError(-542398533, "Generic error in an external library")
DAMAGED = av.error.InvalidDataError(-1094995529, "Invalid data found")
Fails = Callable[[int], Exception | None]


class StandIn:
    """``fails`` maps a packet, counted from 1, to the error it raises."""

    def __init__(self, software: Any, fails: Fails) -> None:
        self._context = av.VideoCodecContext.create(software.codec, "r")
        self._context.extradata = software.extradata
        self._fails = fails
        self.packets = 0

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        self.packets += 1
        if error := self._fails(self.packets):
            raise error
        return [frame.reformat(format="nv12") for frame in self._context.decode(packet)]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[StandIn]]:
    """Puts a device into the machine; the decoders that are made on it."""

    def put(fails: Fails = lambda _: None) -> list[StandIn]:
        made: list[StandIn] = []

        def context(software: Any) -> Any:
            made.append(StandIn(software, fails))
            return made[-1]

        monkeypatch.setattr(cuda_decoding, "why_no_cuda", lambda: None)
        monkeypatch.setattr(cuda_decoding, "cuda_context", context)
        return made

    return put


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_decoder, "_logged", set())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pictures with a keyframe every 8."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def play(path: Path, decoder: Any) -> tuple[Recorder, Any]:
    config = StreamConfig(url=str(path), decoder=decoder, paced=False)
    return run_to_end(make_source("clip", config))


def images(output: Recorder) -> list[ImageArray]:
    return [frame.pixels.rgb() for frame in output.frames]


def numbers(output: Recorder) -> list[int]:
    return [read_number(image) for image in images(output)]


def test_auto_gives_the_same_pictures_wherever_they_are_decoded(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On a machine without a device, FFmpeg is really asked for one."""
    caplog.set_level(logging.INFO, "streamer")
    software, error = play(clip, "software")
    assert error is None
    for _ in range(2):
        auto, error = play(clip, "auto")
        assert error is None
        for own, other in zip(images(auto), images(software), strict=True):
            np.testing.assert_array_equal(own, other)
    told = [line.message for line in caplog.records if "on the CPU" in line.message]
    assert told == ([f"video is decoded on the CPU: {why_no_cuda()}"] if told else [])
    assert bool(told) == bool(why_no_cuda())


def test_why_not_is_what_becomes_of_asking(clip: Path) -> None:
    works = True
    with av.open(str(clip)) as container:
        try:
            cuda_context(container.streams.video[0].codec_context)
        except CudaDecodingError:
            works = False
    assert works == (why_no_cuda() is None)


def test_missing_cuda_error_names_the_next_step(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_decoding, "why_no_cuda", lambda: "no driver; install it")
    output, error = play(clip, "cuda")
    assert output.frames == []
    assert error.reason is SourceFailure.CODEC
    assert str(error) == (
        f"clip: {clip} cannot be decoded on a CUDA device: no driver; install it; or set decoder "
        "to auto or software"
    )


@pytest.mark.parametrize("decoder", ["auto", "cuda"])
@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_a_device_decodes_every_picture_and_its_planes_continue(
    decoder: str, codec: str, tmp_path: Path, device: Any
) -> None:
    path = write_clip(tmp_path / "clip.mkv", codec)
    made = device()
    output, error = play(path, decoder)
    assert error is None
    assert [each.packets for each in made] == [CLIP_LENGTH + 1]  # with the end
    assert numbers(output) == list(range(CLIP_LENGTH))
    assert all(isinstance(frame.pixels, YuvPlanes) for frame in output.frames)
    software, _ = play(path, "software")
    for own, other in zip(output.frames, software.frames, strict=True):
        assert (own.pts, own.time_base) == (other.pts, other.time_base)
        np.testing.assert_array_equal(own.pixels.rgb(), other.pixels.rgb())


def test_pictures_that_refer_to_later_ones_come_in_order(tmp_path: Path, device: Any) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "b-adapt": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for index in range(CLIP_LENGTH):
            frame = av.VideoFrame.from_ndarray(numbered_picture(index), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    made = device()
    output, error = play(path, "auto")
    assert error is None
    assert made[0].packets == CLIP_LENGTH + 1
    assert numbers(output) == list(range(CLIP_LENGTH))


def test_a_device_that_refuses_the_first_picture_costs_none(
    clip: Path, device: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = device(lambda _: GONE)
    output, error = play(clip, "auto")
    assert error is None
    assert numbers(output) == list(range(CLIP_LENGTH))
    assert not output.drops
    assert made[0].packets == 1
    (line,) = [each.message for each in caplog.records if "CUDA" in each.message]
    assert line.startswith("the CUDA device does not decode this stream (")
    assert line.endswith("); decoding on the CPU")


def test_a_device_that_gives_nothing_is_given_up(tmp_path: Path, device: Any) -> None:
    path = write_clip(tmp_path / "long.mp4", count=56)
    made = device(lambda packet: None)
    silent: list[Any] = []

    def decode(packet: Any) -> list[Any]:
        silent.append(packet)
        return []

    source = make_source("clip", StreamConfig(url=str(path), decoder="auto", paced=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StandIn, "decode", lambda self, packet: decode(packet))
        output, error = run_to_end(source)
    assert error is None
    assert len(made) == 1
    assert len(silent) == 32
    # The 32nd was lost; the 33rd, number 32, is a keyframe.
    assert numbers(output) == [index % 16 for index in range(32, 56)]
    assert output.drops == {DropReason.DECODE_ERROR: 1}


@pytest.mark.parametrize("decoder", ["auto", "cuda"])
def test_a_device_that_fails_in_mid_stream_is_given_up_and_the_stream_continues(
    clip: Path, decoder: str, device: Any
) -> None:
    made = device(lambda packet: GONE if packet > 3 else None)
    output, error = play(clip, decoder)
    assert error is None
    # Three failed, two had to wait for the keyframe; the rest is complete.
    assert numbers(output) == [0, 1, 2, 8, 9, 10, 11, 12, 13, 14, 15]
    assert output.drops == {DropReason.DECODE_ERROR: 3, DropReason.NO_KEYFRAME: 2}
    assert made[0].packets == 6
    assert cuda_decoding._places._value == cuda_decoding.MOST_DECODERS


def test_damaged_pictures_are_no_reason_to_give_the_device_up(clip: Path, device: Any) -> None:
    made = device(lambda packet: DAMAGED if packet in (4, 5, 8) else None)
    output, error = play(clip, "auto")
    assert error is None
    assert output.drops[DropReason.DECODE_ERROR] == 3
    assert made[0].packets == CLIP_LENGTH + 1
    assert len(output.frames) == CLIP_LENGTH - 3


def test_number_of_streams_decoded_on_the_device_is_limited(
    clip: Path, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = device()
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(cuda_decoding, "_places", places)
    with places:
        output, error = play(clip, "auto")
        assert error is None
        assert numbers(output) == list(range(CLIP_LENGTH))
        _, error = play(clip, "cuda")
        assert "16 streams are already decoded there" in str(error)
    assert made == []
    for _ in range(3):  # each gives its place back
        play(clip, "cuda")
    assert len(made) == 3


def test_a_context_that_cannot_be_made_leaves_its_place(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> Any:
        raise CudaDecodingError("out of memory")

    monkeypatch.setattr(cuda_decoding, "why_no_cuda", lambda: None)
    monkeypatch.setattr(cuda_decoding, "cuda_context", fails)
    for _ in range(cuda_decoding.MOST_DECODERS + 1):
        output, error = play(clip, "auto")
        assert error is None
    assert len(output.frames) == CLIP_LENGTH


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_turned_or_mirrored_video_is_shown_as_by_players(
    name: str, tmp_path: Path, device: Any
) -> None:
    path = write_oriented_clip(tmp_path / "phone.mp4", ORIENTATIONS[name])
    software, _ = play(path, "software")
    made = device()
    output, error = play(path, "cuda")
    assert error is None
    assert made[0].packets == 4
    assert [corners(image) for image in images(software)] == [SHOWN[name]] * 3
    for own, other in zip(images(output), images(software), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.gpu
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_nvdec_gives_the_planes_that_the_processor_gives(codec: str, tmp_path: Path) -> None:
    """To the bit, as both standards have it."""
    path = write_clip(tmp_path / "clip.mp4", codec, width=320, height=192)
    software, _ = play(path, "software")
    output, error = play(path, "cuda")
    assert error is None
    assert len(output.frames) == CLIP_LENGTH
    for own, other in zip(output.frames, software.frames, strict=True):
        assert own.pts == other.pts
        assert isinstance(own.pixels, YuvPlanes)
        assert isinstance(other.pixels, YuvPlanes)
        ours, theirs = own.pixels.yuv, other.pixels.yuv
        np.testing.assert_array_equal(ours.luma_HW, theirs.luma_HW)
        np.testing.assert_array_equal(ours.blue_hw, theirs.blue_hw)
        np.testing.assert_array_equal(ours.red_hw, theirs.red_hw)
        assert (ours.matrix, ours.full_range) == (theirs.matrix, theirs.full_range)
        np.testing.assert_array_equal(own.pixels.rgb(), other.pixels.rgb())


@pytest.mark.gpu
def test_nvdec_and_a_full_device_side_by_side(tmp_path: Path) -> None:
    """Streams of one process, each with its decoder, end and begin again."""
    path = write_clip(tmp_path / "clip.mp4", width=320, height=192)
    outputs: list[Recorder] = []
    threads = [
        threading.Thread(target=lambda: outputs.append(play(path, "cuda")[0])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [numbers(output) for output in outputs] == [list(range(CLIP_LENGTH))] * 4
