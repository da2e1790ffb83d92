"""Cuts and camera motion, from thumbnails of two frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tracker.little import little_picture
from tracker.images.scene_change import SceneChange, compare, thumbnails
from tracker.scenes import Match

SIZE = 256


def pixels(*images: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in images])


def between(one: np.ndarray, other: np.ndarray) -> SceneChange:
    return compare(thumbnails(pixels(one)), thumbnails(pixels(other)))


@pytest.mark.parametrize("shift", [(0, 0), (12, 0), (-20, 8), (0, -28), (6, 6)])
def test_motion_of_the_whole_picture_is_found(shift: tuple[int, int]) -> None:
    wide = little_picture(3, SIZE + 80, SIZE + 80)
    x, y = shift
    before = wide[40 : 40 + SIZE, 40 : 40 + SIZE]
    now = wide[40 - y : 40 - y + SIZE, 40 - x : 40 - x + SIZE]
    scene = between(before, now)
    assert not scene.cut_B.any()
    np.testing.assert_allclose(scene.shift_B2[0] * SIZE, shift, atol=2.5)


def test_another_picture_is_a_cut_without_camera_motion() -> None:
    scene = between(little_picture(1, SIZE, SIZE), 255 - little_picture(2, SIZE, SIZE) // 2)
    assert scene.cut_B.all()
    assert not scene.shift_B2.any()


def test_cuts_of_a_match_are_found_and_no_others() -> None:
    """A match that pans; in between, its close-up from another place."""
    match = Match(7, 192, 108, 15.0, pan=0.1)
    frames = [match.render(index).image for index in range(0, 24, 2)]
    closer = [np.ascontiguousarray(frame[30:84, 20:116][:, ::-1]) for frame in frames]
    film = frames[:4] + [np.repeat(np.repeat(f, 2, 0), 2, 1) for f in closer[4:8]] + frames[8:]
    small = torch.cat([thumbnails(pixels(frame)) for frame in film])
    cuts = compare(small[:-1], small[1:]).cut_B
    assert cuts.nonzero().flatten().tolist() == [3, 7]


def test_changing_light_is_no_cut() -> None:
    picture = little_picture(5, SIZE, SIZE)
    assert not between(picture, (picture * 0.7).astype(np.uint8)).cut_B.any()


def test_streams_of_a_batch_are_independent() -> None:
    one, two, three = (thumbnails(pixels(little_picture(seed, SIZE, SIZE))) for seed in (1, 2, 3))
    together = compare(torch.cat((one, two)), torch.cat((one, three)))
    for row, (before, now) in enumerate(((one, one), (two, three))):
        alone = compare(before, now)
        torch.testing.assert_close(together.shift_B2[row], alone.shift_B2[0])
        assert together.cut_B[row] == alone.cut_B[0]


def test_blank_pictures_have_no_motion_and_no_cut() -> None:
    blank = np.full((SIZE, SIZE, 3), 90, np.uint8)
    scene = between(blank, blank)
    assert not scene.cut_B.any()
    assert not scene.shift_B2.any()
    assert torch.isfinite(scene.shift_B2).all()
