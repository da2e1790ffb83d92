"""Photographs are read from folders and archives; every 16th is kept apart from training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tracker.evaluation import layouts
from tracker.evaluation.readers.photographs import kept_apart, photograph_clips


def test_a_folder_an_archive_and_a_folder_of_archives_read_alike(tmp_path: Path) -> None:
    folder = layouts.photographs(tmp_path / "photos", 2, things=3)
    archive = layouts.packed(folder)
    (tmp_path / "all").mkdir()
    archive.rename(tmp_path / "all" / "photos.tar")
    for path in (folder, tmp_path / "all" / "photos.tar", tmp_path / "all"):
        first, second = (each.read() for each in photograph_clips([path], 16))
        assert (first.name, second.name) == ("photos/000", "photos/001")
        assert (first.category, first.object_ids, first.still) == (
            "3 things or more",
            (1, 2, 3),
            True,
        )
        (frame,) = first.open()
        assert frame.image.shape == (layouts.HEIGHT, layouts.WIDTH, 3)
        assert [int(mask.sum()) for mask in frame.truth.values()] == [36, 36, 36]


def test_small_things_count_for_nothing(tmp_path: Path) -> None:
    layouts.photographs(tmp_path, 1)
    path = tmp_path / "instances" / "000.png"
    values = layouts.read_map(path)
    values[10, 10:12] = 9  # 2 of 768 pixels
    layouts.write_map(path, values)
    (clip,) = (each.read() for each in photograph_clips([tmp_path], 16))
    (frame,) = clip.open()
    assert (clip.category, clip.object_ids) == ("1 thing", (1,))
    assert (frame.truth.keys(), frame.others.keys()) == ({1}, set())


def test_of_many_things_the_largest_are_asked_for(tmp_path: Path) -> None:
    layouts.photographs(tmp_path, 1, things=3)
    values = layouts.read_map(tmp_path / "instances" / "000.png")
    values[14:, :] = 2
    layouts.write_map(tmp_path / "instances" / "000.png", values)
    (clip,) = (each.read() for each in photograph_clips([tmp_path], 1))
    assert clip.object_ids == (2,)
    (frame,) = clip.open()
    assert frame.others.keys() == {1, 3}


def test_every_sixteenth_of_a_source_is_kept_apart(tmp_path: Path) -> None:
    names = [f"images/{index:03d}.jpg" for index in range(64)]
    assert kept_apart(names[::-1]) == {f"images/{index:03d}.jpg" for index in (7, 23, 39, 55)}
    assert not kept_apart(names[:63])
    folder = layouts.photographs(tmp_path / "many", 64)
    clips = [each.name for each in photograph_clips([folder], 16, held_out=True)]
    assert clips == [f"many/{index:03d}" for index in (7, 23, 39, 55)]


@pytest.mark.parametrize("content", ["nothing", "few", "blank", "torn", "colour", "larger", "text"])
def test_what_cannot_be_judged_is_named(tmp_path: Path, content: str) -> None:
    folder = layouts.photographs(tmp_path / "photos", 1)
    index_map = folder / "instances" / "000.png"
    held_out = content == "few"
    if content == "nothing":
        index_map.unlink()
    elif content == "blank":
        layouts.index_map(index_map, {}, palette=False)
    elif content == "torn":
        index_map.write_bytes(index_map.read_bytes()[:40])
    elif content == "colour":
        index_map.write_bytes((folder / "images" / "000.jpg").read_bytes())
    elif content == "larger":
        layouts.write_map(index_map, np.ones((9, 9), np.uint8))
    elif content == "text":
        folder = tmp_path / "photos.tar"
        folder.write_text("no archive")
    expected = {
        "nothing": "expected a folder or tar file with images/NAME.jpg and instances/NAME.png",
        "few": "none of 1 photographs is kept apart .* without --held-out all",
        "blank": "no outlined thing of at least 0.4%",
        "torn": "photos: instances/000.png cannot be read",
        "colour": "instances/000.png must be a palette or grey PNG .* mode RGB",
        "larger": "instances/000.png has 9x9 pixels, its picture 32x24",
        "text": "photos.tar: cannot be read as a tar file",
    }[content]

    def read() -> None:
        for each in photograph_clips([folder], 16, held_out=held_out):
            list(each.read().open())

    with pytest.raises((ValueError, FileNotFoundError), match=expected):
        read()
