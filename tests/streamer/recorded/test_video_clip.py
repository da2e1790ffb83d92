"""Clips are read by number, forwards and backwards, whatever the file is like."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from streamer.errors import ConfigError, PictureError, SourceError
from streamer.recorded import video_clip
from streamer.recorded.clip import as_it_is, result_name
from streamer.recorded.clips import find_clips, open_clip
from tests.streamer.recorded.made import FRAMES, HEIGHT, WIDTH, number_of, numbered, pictures, video
from tests.streamer.sources.oriented_clips import (
    ORIENTATIONS,
    SHOWN,
    corners,
    write_oriented_clip,
)


def _read(path: Path, start: int, *, backward: bool = False) -> list[tuple[int, int | None]]:
    frames = open_clip(path).read(start, backward=backward, keep=as_it_is)
    return [(index, None if image is None else number_of(image)) for index, image in frames]


def _own(start: int, stop: int) -> list[tuple[int, int]]:
    step = 1 if stop > start else -1
    return [(index, index) for index in range(start, stop, step)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("clip.mp4", {}),
        ("clip.mkv", {"group": 5, "b_frames": 3}),
        ("clip.webm", {"codec": "libvpx"}),
        ("clip.avi", {"codec": "mpeg4"}),
        ("clip.ts", {"group": 6}),
        ("clip.h264", {"b_frames": 0}),  # without times: counted from its beginning
        ("clip.mov", {"layout": "yuv444p"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_are_read_by_number_both_ways(
    name: str, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / name, **settings)
    assert open_clip(path).frames == FRAMES
    assert _read(path, 0) == _own(0, FRAMES)
    assert _read(path, 7) == _own(7, FRAMES)
    assert _read(path, FRAMES - 1, backward=True) == _own(FRAMES - 1, -1)
    # A bound of three pictures: groups are decoded in parts.
    monkeypatch.setattr(video_clip, "GROUP_BYTES", 3 * WIDTH * HEIGHT * 3)
    assert _read(path, 9, backward=True) == _own(9, -1)


def test_backward_reading_keeps_no_more_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "one_group.mp4", 60, group=60)
    monkeypatch.setattr(video_clip, "GROUP_BYTES", 5 * WIDTH * HEIGHT * 3)
    alive: set[int] = set()
    most = 0

    class Counted:
        nbytes = WIDTH * HEIGHT * 3

        def __init__(self, image: np.ndarray) -> None:
            nonlocal most
            alive.add(id(self))
            most = max(most, len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    frames = open_clip(path).read(59, backward=True, keep=Counted)
    assert [index for index, _ in frames] == list(range(59, -1, -1))
    assert most <= 5 + 3  # and what is on its way


def test_times_may_vary(tmp_path: Path) -> None:
    clip = open_clip(video(tmp_path / "uneven.mkv", 4, times=[0, 1, 10, 12], b_frames=0))
    assert [round(clip.time_s(index) * 25) for index in range(4)] == [0, 1, 10, 12]


def test_rotated_clip_is_upright(tmp_path: Path) -> None:
    path = write_oriented_clip(tmp_path / "phone.mp4", ORIENTATIONS["quarter turn clockwise"])
    clip = open_clip(path)
    assert (clip.width, clip.height) == (64, 96)
    for backward in (False, True):
        start = clip.frames - 1 if backward else 0
        for _, image in clip.read(start, backward=backward, keep=as_it_is):
            assert image is not None
            assert corners(image) == SHOWN["quarter turn clockwise"]


def test_clip_of_one_frame(tmp_path: Path) -> None:
    path = video(tmp_path / "one.mp4", 1)
    assert _read(path, 0) == _read(path, 0, backward=True) == [(0, 0)]


def test_damaged_frame_keeps_its_number(tmp_path: Path) -> None:
    path = video(tmp_path / "damaged.mkv", codec="ffv1", group=1, layout="yuv420p")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    at, size = places[5]
    data[at + 8 : at + size] = bytes(size - 8)
    path.write_bytes(data)
    expected = [(index, None if index == 5 else index) for index in range(FRAMES)]
    assert _read(path, 0) == expected
    assert _read(path, FRAMES - 1, backward=True) == expected[::-1]


def test_file_that_was_cut_off_has_the_frames_that_are_there(tmp_path: Path) -> None:
    path = video(tmp_path / "cut.mkv", group=2, b_frames=0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    count = open_clip(path).frames
    assert 2 < count < FRAMES  # whatever its header states
    assert [index for index, _ in _read(path, 0)] == list(range(count))


def test_what_has_no_video_is_refused_by_name(tmp_path: Path) -> None:
    sound = tmp_path / "song.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match=r"song\.wav has only sound"):
        open_clip(sound)
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(SourceError, match=r"notes\.mp4 is not video"):
        open_clip(text)


def test_pictures_come_in_natural_order_and_unreadable_ones_are_damaged(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "frames")
    assert _read(folder, 0) == _own(0, FRAMES)
    assert _read(folder, 3, backward=True) == _own(3, -1)
    (folder / "4.png").write_bytes(b"no picture")
    assert _read(folder, 2)[:3] == [(2, 2), (3, None), (4, 4)]
    Image.fromarray(numbered(0, 40, 30)).save(folder / "20.png")
    with pytest.raises(ConfigError, match=r"20\.png is 40×30"):
        open_clip(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match="holds no picture"):
        open_clip(tmp_path / "empty")


def test_folder_of_videos_is_all_of_them_and_names_must_differ(tmp_path: Path) -> None:
    for name in ("b10.mp4", "b9.mkv", ".hidden.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_clips([tmp_path])] == ["b9.mkv", "b10.mp4"]
    with pytest.raises(ConfigError, match="does not exist"):
        find_clips([tmp_path / "no.mp4"])
    (tmp_path / "b9.avi").touch()
    with pytest.raises(ConfigError, match="would both be written to b9/"):
        find_clips([tmp_path])
    assert result_name(tmp_path / "b9.avi") == "b9"
