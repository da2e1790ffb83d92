"""Frames of any size, tracks that fit them, and streams without objects, which cost nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tracker.little import LITTLE, assert_same, click, little_picture, little_tracker, step
from tracker import Prompt, PromptError, Tracker, TrackState
from tracker.model import Sam2

# Nearly everything is visible with it.
VISIBLE_BIAS = 30.0


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of the image encoder was given."""
    calls: list[int] = []
    encode = Sam2.encode_image

    def counted(self: Sam2, image_B3SS: torch.Tensor) -> object:
        calls.append(len(image_B3SS))
        return encode(self, image_B3SS)

    monkeypatch.setattr(Sam2, "encode_image", counted)
    return calls


def test_stream_without_objects_is_not_encoded(encoded: list[int]) -> None:
    tracker = little_tracker()
    empty, live = tracker.open_session(), tracker.open_session()
    assert tracker.step([(empty, little_picture(0), [])]) == [[]]
    assert encoded == []

    tracker.step([(empty, little_picture(1), []), (live, little_picture(2), [click(1)])])
    assert encoded == [1]
    live.remove(1)
    tracker.step([(empty, little_picture(3), []), (live, little_picture(4), [])])
    assert encoded == [1]
    assert empty.frames_seen == 3


def test_images_of_a_step_are_encoded_as_one_batch(encoded: list[int]) -> None:
    tracker = little_tracker()
    sessions = [tracker.open_session() for _ in range(3)]
    tracker.step([(s, little_picture(s.max_objects, 40, 70), [click(1)]) for s in sessions])
    assert encoded == [3]


def test_correction_uses_the_frame_encoded_before(encoded: list[int]) -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    tracker.correct(session, [click(1, 40, 40)])
    tracker.correct(session, [click(2, 40, 40)])
    assert encoded == [1]


def test_object_may_start_on_the_last_frame_of_an_empty_stream(encoded: list[int]) -> None:
    tracker = little_tracker()
    late, direct = tracker.open_session(), tracker.open_session()
    step(tracker, late, little_picture(0))
    (started,) = tracker.correct(late, [click(1)]).tracks
    assert encoded == [1]
    assert_same(started, step(tracker, direct, little_picture(0), click(1))[1])
    for index in (1, 2):
        assert_same(
            step(tracker, late, little_picture(index))[1],
            step(tracker, direct, little_picture(index))[1],
        )


def test_correction_without_prompts_does_nothing(encoded: list[int]) -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    step(tracker, session, little_picture(0))
    assert tracker.correct(session, []) == ([], [])
    assert encoded == []


@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (48, 80), (200, 31), (1, 1), (7, 300), (128, 256)]
)
def test_mask_and_box_fit_the_frame(height: int, width: int) -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    session = tracker.open_session()
    image = little_picture(3, height, width)
    for prompts in ([click(1, width / 2, height / 2)], []):
        track = step(tracker, session, image, *prompts)[1]
        assert (track.frame_height, track.frame_width) == (height, width)
        assert track.mask.shape == (height, width)
        assert track.area == track.mask.sum() == track.crop.sum()
        x0, y0, x1, y1 = track.box_xyxy
        assert track.crop.shape == (y1 - y0, x1 - x0)
        if track.area:
            assert track.state is TrackState.VISIBLE
            # Tight: every side of the crop has a pixel on it.
            assert track.crop[0].any()
            assert track.crop[-1].any()
            assert track.crop[:, 0].any()
            assert track.crop[:, -1].any()


def test_mask_prompt_comes_back_as_it_was_given() -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    mask = np.zeros((128, 192), np.bool_)
    mask[32:96, 48:144] = True
    track = step(tracker, session, little_picture(0, 128, 192), Prompt(1, mask=mask))[1]
    assert track.state is TrackState.VISIBLE
    assert track.predicted_iou == 1.0
    # The way there and back leads over a grid of 16 x 16.
    assert (track.mask & mask).sum() / (track.mask | mask).sum() > 0.85


def test_box_ends_at_the_border_of_the_frame() -> None:
    tracker = little_tracker()
    image = little_picture(0, 48, 80)
    beyond = Prompt(1, box_xyxy=(-30, 10, 50, 1000))
    inside = Prompt(1, box_xyxy=(0, 10, 50, 48))
    one, other = (step(tracker, tracker.open_session(), image, box)[1] for box in (beyond, inside))
    assert_same(one, other)


def test_size_may_change_while_an_object_is_tracked() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    session = tracker.open_session()
    step(tracker, session, little_picture(0, 60, 100), click(1))
    for height, width in [(30, 50), (200, 64), (60, 100)]:
        track = step(tracker, session, little_picture(1, height, width))[1]
        assert track.mask.shape == (height, width)
        # A correction is in the pixels of the frame just tracked.
        (corrected,) = tracker.correct(session, [click(1, width - 1, height - 1)]).tracks
        assert corrected.mask.shape == (height, width)
        with pytest.raises(PromptError, match=f"outside the {width}×{height} frame"):
            tracker.correct(session, [click(1, width, 0)])


def test_occluded_object_has_no_pixels_and_a_low_score() -> None:
    tracker = little_tracker(object_score_bias=-100.0)
    session = tracker.open_session()
    track = step(tracker, session, little_picture(0), click(1))[1]
    assert track.state is TrackState.OCCLUDED
    assert track.box_xyxy == (0, 0, 0, 0)
    assert track.area == 0
    assert not track.mask.any()
    assert track.object_score < 1e-6
    assert track.logits is not None
    assert (track.logits == -1024).all()


def test_read_only_and_strided_images_are_taken() -> None:
    tracker = little_tracker()
    image = little_picture(0, 64, 64)
    read_only = image.copy()
    read_only.setflags(write=False)
    padded = np.zeros((64, 100, 3), np.uint8)
    padded[:, :64] = image
    upside_down = np.ascontiguousarray(image[::-1])[::-1]
    expected = step(tracker, tracker.open_session(), image, click(1))[1]
    for variant in (read_only, padded[:, :64], upside_down):
        assert_same(step(tracker, tracker.open_session(), variant, click(1))[1], expected)
    mask = np.broadcast_to(np.ones((), np.bool_), (64, 64))
    assert step(tracker, tracker.open_session(), image, Prompt(1, mask=mask))[1].area == 64 * 64


def test_random_tracker_is_the_same_for_the_same_seed() -> None:
    def logits(seed: int) -> np.ndarray:
        tracker = Tracker.random(LITTLE, seed=seed)
        track = step(tracker, tracker.open_session(), little_picture(0), click(1))[1]
        return np.array([track.predicted_iou, track.object_score])

    np.testing.assert_array_equal(logits(3), logits(3))
    assert (logits(3) != logits(4)).any()
