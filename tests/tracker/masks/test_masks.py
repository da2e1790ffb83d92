"""Holes, exclusive pixels and boxes, compared with plain loops over the cells."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.tracker.little import LITTLE, click, little_picture, little_tracker, model_with, step
from tracker import Prompt, Tracker, TrackerOptions
from tracker.masks.masks import HOLE_LOGIT, boxes_of, fill_holes, without_overlap


def filled_by_hand(logits: npt.NDArray[np.float32], largest: int) -> npt.NDArray[np.float32]:
    """Flood fill of every background component, 8-connected."""
    height, width = logits.shape
    out, seen = logits.copy(), logits > 0
    for start in product(range(height), range(width)):
        if seen[start]:
            continue
        seen[start] = True
        component = [start]
        for y, x in component:  # grows while it is walked
            for step_y, step_x in product((-1, 0, 1), repeat=2):
                place = y + step_y, x + step_x
                inside = 0 <= place[0] < height and 0 <= place[1] < width
                if inside and not seen[place]:
                    seen[place] = True
                    component.append(place)
        if len(component) <= largest:
            for place in component:
                out[place] = HOLE_LOGIT
    return out


@pytest.mark.parametrize("density", [0.3, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("largest", [1, 3, 8])
def test_small_holes_are_filled_and_large_ones_left(density: float, largest: int) -> None:
    generator = np.random.default_rng(int(100 * density) + largest)
    sets = generator.random((3, 1, 24, 31)) < density
    logits = np.where(sets, 2.0, -3.0).astype(np.float32)
    logits[0, 0, 0, 0] = 0.0  # nothing is background too
    filled = fill_holes(torch.from_numpy(logits), largest).numpy()
    for own, before in zip(filled, logits, strict=True):
        np.testing.assert_array_equal(own[0], filled_by_hand(before[0], largest))


def test_a_long_component_above_the_limit_is_no_hole() -> None:
    logits = torch.ones(1, 1, 8, 24)
    logits[0, 0, 3, 2:11] = -1.0  # nine cells in a row
    logits[0, 0, 6, 14:22] = -1.0  # eight
    filled = fill_holes(logits, 8)
    assert (filled[0, 0, 3, 2:11] == -1).all()
    assert (filled[0, 0, 6, 14:22] == HOLE_LOGIT).all()


def test_no_hole_is_filled_by_default() -> None:
    logits = torch.randn(2, 1, 8, 8)
    assert fill_holes(logits, 0) is logits


def test_pixel_goes_to_the_strongest_object() -> None:
    logits = torch.randn(4, 1, 16, 16) * 20
    owned = without_overlap(logits)
    assert ((owned > 0).sum(dim=0) <= 1).all()
    strongest = logits.argmax(dim=0, keepdim=True)
    assert torch.equal(owned.gather(0, strongest), logits.gather(0, strongest))
    others = torch.ones_like(logits, dtype=torch.bool).scatter_(0, strongest, value=False)
    assert torch.equal(owned[others], logits[others].clamp(max=-10))


def test_boxes_are_tight_and_half_open() -> None:
    masks = torch.zeros(4, 20, 30, dtype=torch.bool)
    masks[0, 3:7, 5:6] = True
    masks[1, 0, 0] = masks[1, 19, 29] = True
    masks[2] = True
    expected = [[5, 3, 6, 7], [0, 0, 30, 20], [0, 0, 30, 20], [0, 0, 0, 0]]
    assert boxes_of(masks).tolist() == expected


def overlapping(options: TrackerOptions) -> tuple[Tracker, list[Prompt]]:
    model = little_tracker().model()
    tracker = Tracker(model_with(LITTLE, model.state_dict()), torch.device("cpu"), options)
    left, right = np.zeros((2, 64, 64), np.bool_)
    left[16:48, 8:40] = True
    right[16:48, 24:56] = True
    return tracker, [Prompt(1, mask=left), Prompt(2, mask=right)]


def test_objects_of_a_stream_share_no_pixel_on_request() -> None:
    tracker, prompts = overlapping(TrackerOptions(max_objects=4, non_overlap=True))
    one, two = tracker.open_session(), tracker.open_session()
    first, second = tracker.step(
        [(one, little_picture(0), prompts), (two, little_picture(1), prompts[:1])]
    )
    assert not (first[0].mask & first[1].mask).any()
    # The other stream's object lies where both do, and keeps all of its pixels.
    assert second[0].area > first[0].area
    for track in (*first, *second):
        assert track.area == track.mask.sum()


def test_corrected_object_takes_no_pixel_of_a_stronger_one() -> None:
    tracker, (left, right) = overlapping(TrackerOptions(max_objects=4, non_overlap=True))
    session = tracker.open_session()
    tracks = step(tracker, session, little_picture(0), left, right)
    for prompt in (right, left):
        (again,) = tracker.correct(session, [prompt]).tracks
        np.testing.assert_array_equal(again.mask, tracks[prompt.object_id].mask)


def test_objects_may_share_pixels_by_default() -> None:
    tracker, prompts = overlapping(TrackerOptions(max_objects=4))
    tracks = step(tracker, tracker.open_session(), little_picture(0), *prompts)
    assert (tracks[1].mask & tracks[2].mask).any()


def test_holes_of_masks_are_filled_on_request() -> None:
    def area(largest: int) -> int:
        tracker, _ = overlapping(TrackerOptions(max_objects=4, fill_hole_area=largest))
        mask = np.ones((64, 64), np.bool_)
        mask[20:28, 20:28] = False  # four cells of the low-resolution mask
        session = tracker.open_session()
        return step(tracker, session, little_picture(0), Prompt(1, mask=mask))[1].area

    assert area(0) == area(3) < 64 * 64
    assert area(4) == 64 * 64


def test_prompted_frame_is_remembered_with_its_holes_filled() -> None:
    def memory(prompt: Prompt) -> torch.Tensor:
        tracker, _ = overlapping(TrackerOptions(max_objects=1, fill_hole_area=4))
        step(tracker, tracker.open_session(), little_picture(0), prompt)
        return tracker._bank._grids.in_use

    whole = np.ones((64, 64), np.bool_)
    with_hole = whole.copy()
    with_hole[20:28, 20:28] = False
    assert torch.equal(memory(Prompt(1, mask=with_hole)), memory(Prompt(1, mask=whole)))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_objects": 0}, "max_objects must be at least 1, got 0"),
        ({"fill_hole_area": 65}, "fill_hole_area must be 0..64, got 65"),
        ({"memory_policy": "best"}, "memory_policy"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TrackerOptions(**options)  # type: ignore[arg-type]


def test_tracks_carry_logits_only_on_request() -> None:
    tracker, _ = overlapping(TrackerOptions(max_objects=1))
    assert step(tracker, tracker.open_session(), little_picture(0), click(1))[1].logits is None
