"""Prompts are checked before anything runs, and an error names the place in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamer.errors import ConfigError
from streamer.recorded.clips import open_clip
from streamer.recorded.prompts import checked_for, read_prompts
from tests.streamer.recorded.made import HEIGHT, WIDTH, pictures

GOOD = {"frame_index": 0, "object_id": 1, "points": [[10, 20]], "labels": [1]}


def _checked(folder: Path, content: Any, **settings: Any) -> dict:
    file = folder / "prompts.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    clip = open_clip(folder / "clip") if (folder / "clip").exists() else None
    clip = clip or open_clip(pictures(folder / "clip"))
    entries = read_prompts(file, [clip.name])[clip.name]
    return checked_for(entries, clip, 64, **settings)


def test_prompts_of_every_kind_are_read(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:40, 10:50] = 255
    Image.fromarray(mask).save(tmp_path / "ball.png")
    found = _checked(
        tmp_path,
        [
            GOOD | {"box": [5, 5, 40, 40]},
            GOOD | {"frame_index": 7, "labels": [0], "box": None, "mask": None},
            {"frame_index": 7, "object_id": 2, "points": None, "mask": "ball.png"},
            GOOD | {"box": [5, 5, 40, 40]},  # the very same again
        ],
    )
    assert list(found) == [0, 7]
    assert found[0][0].points_xy == ((10.0, 20.0),)
    assert found[0][0].box_xyxy == (5.0, 5.0, 40.0, 40.0)
    assert found[7][0].point_labels == (0,)
    assert found[7][1].mask is not None
    assert found[7][1].mask.sum() == 30 * 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "line 1, column 2: no JSON"),
        ('[{"object_id": 1, "object_id": 2}]', "'object_id' is given twice"),
        ({"other": [GOOD]}, "there is no clip 'other'"),
        ({"clip": [GOOD], "clip.mp4": [GOOD]}, "'clip' and 'clip.mp4' are the same clip"),
        ('[{"frame_index": 0, "object_id": ' + "9" * 5000 + "}]", "too many digits"),
        ([GOOD | {"object_id": 2**40}], "must be a whole number of at most 2147483647"),
        ([], "a list of at least one prompt"),
        ([GOOD, 3], r"prompts\.json\[1\]: a prompt is an object"),
        ([GOOD | {"point": []}], "unknown key 'point'"),
        ([{"frame_index": 0}], "object_id is missing"),
        ([GOOD | {"frame_index": 12}], r"\[0\]\.frame_index: clip has frames 0 to 11, got 12"),
        ([GOOD | {"frame_index": -1}], r"\[0\]\.frame_index: must be a whole number"),
        ([GOOD | {"frame_index": True}], "must be a whole number of at least 0, got true"),
        ([GOOD | {"object_id": 0}], r"at least 1 \(0 is the background\), got 0"),
        ([GOOD | {"labels": []}], r"\[0\]\.labels: each point has a label, but there are 1 points"),
        ([GOOD | {"labels": [2]}], r"\[0\]\.labels\[0\]: must be 1 \(on the object\) or 0"),
        ([GOOD | {"points": [[1, 2, 3]]}], r"\[0\]\.points\[0\]: must be \[x, y\]"),
        ('[{"frame_index":0,"object_id":1,"points":[[NaN,1]],"labels":[1]}]', "finite number"),
        ([GOOD | {"points": [[96, 5]]}], r"\[0\]: .*outside the 96×64 frame \(clip\)"),
        ([GOOD | {"box": [100, 0, 120, 9]}], r"\[0\]: .*outside the 96×64 frame"),
        ([GOOD | {"box": [9, 9, 3, 3]}], "x0 < x1"),
        ([GOOD, GOOD | {"labels": [0]}], r"\[1\]: object 1 has another prompt on frame 0 already"),
        ([GOOD | {"labels": [0]}], r"\[0\]: object 1 begins here, with points beside it alone"),
        ([GOOD | {"mask": "no.png"}], r"\[0\]\.mask: .*no\.png is not a readable image"),
        ([{"frame_index": 0, "object_id": 1}], "give points with labels, a box or a mask"),
    ],
)
def test_impossible_prompt_is_refused_with_its_place(
    content: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        _checked(tmp_path, content)


def test_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger than 64 MiB"):
        read_prompts(Path("/dev/zero"), ["clip"])


def test_mask_of_another_size_and_ids_beyond_a_palette_are_refused(tmp_path: Path) -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[5:20, 5:20] = 255
    Image.fromarray(mask).save(tmp_path / "small.png")
    with pytest.raises(ConfigError, match=r"\[0\]: .*the mask is 30×30 pixels, the frame is 96×64"):
        _checked(tmp_path, [{"frame_index": 0, "object_id": 1, "mask": "small.png"}])
    with pytest.raises(ConfigError, match="palette pictures hold ids up to 255, got 256"):
        _checked(tmp_path, [GOOD | {"object_id": 256}], largest_id=255)


def test_backwards_an_object_begins_with_its_last_prompt(tmp_path: Path) -> None:
    content = [GOOD | {"labels": [0]}, GOOD | {"frame_index": 5}]
    assert list(_checked(tmp_path, content, backward=True)) == [5, 0]
    with pytest.raises(ConfigError, match=r"\[0\]: object 1 begins here"):
        _checked(tmp_path, content)
