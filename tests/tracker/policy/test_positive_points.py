"""Negative points never take a positive one out of its own mask; otherwise they change nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracker import Prompt, Tracker
from tracker.policy.decision import MaskDecision
from tracker.policy.positive_points import with_positive_points
from tracker.scenes.match import Match

SIDE = 16


def decision(logits: torch.Tensor, score: float) -> MaskDecision:
    value = torch.full((1,), score)
    visible = torch.ones(1, dtype=torch.bool)
    return MaskDecision(logits[None, None], value, value, visible, value[:, None], visible, value)


def at(logits: torch.Tensor, x: float, y: float) -> float:
    return float(logits[int(y * SIDE), int(x * SIDE)])


place = st.floats(0.05, 0.95)


@given(st.integers(0, 1000), st.lists(st.tuples(place, place), min_size=2, max_size=6))
def test_a_point_that_only_the_positive_ones_keep_is_kept(
    seed: int, places: list[tuple[float, float]]
) -> None:
    """The first point is on the object, the others beside it; masks are flat: all or nothing."""
    points = torch.tensor(places)
    labels = torch.tensor([1] + [0] * (len(places) - 1))
    whole, nothing = torch.full((SIDE, SIDE), 4.0), torch.full((SIDE, SIDE), -4.0)

    kept = with_positive_points(decision(nothing, 0.1), decision(whole, 0.7), points, labels)
    assert at(kept.logits_N1hw[0, 0], *places[0]) > 0
    assert float(kept.predicted_iou_N) == pytest.approx(0.7)
    for x, y in places[1:]:
        if math.hypot(x - places[0][0], y - places[0][1]) * SIDE > 4:
            assert at(kept.logits_N1hw[0, 0], x, y) < 0

    noise = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    for full, positive_only in ((whole, noise), (nothing, nothing)):
        same = with_positive_points(
            decision(full, 0.1), decision(positive_only, 0.7), points, labels
        )
        assert torch.equal(same.logits_N1hw[0, 0], full)
        assert float(same.predicted_iou_N) == pytest.approx(0.1)


@pytest.mark.parametrize("refined", [False, True])
def test_the_positive_point_stays_in_its_mask_on_a_rendered_match(refined: bool) -> None:
    tracker = Tracker.from_checkpoint("nano", device="cpu")
    frame = Match(seed=3, width=640, height=360).render(10)
    inside = tried = 0
    for object_id, mask in frame.masks.items():
        x0, y0, x1, y1 = frame.boxes[object_id]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if mask.sum() < 400 or not mask[int(y), int(x)]:
            continue
        reach = 0.75 * max(x1 - x0, y1 - y0)
        turns = [turn * math.pi / 4 for turn in range(8)]
        around = [
            (
                min(max(x + reach * math.cos(turn), 0), 639),
                min(max(y + reach * math.sin(turn), 0), 359),
            )
            for turn in turns
        ]
        session = tracker.open_session()
        if refined:
            tracker.step([(session, frame.image, [Prompt(1, ((x, y),), (1,))])])
            (track,) = tracker.correct(session, [Prompt(1, tuple(around), (0,) * 8)]).tracks
        else:
            prompt = Prompt(1, ((x, y), *around), (1,) + (0,) * 8)
            ((track,),) = tracker.step([(session, frame.image, [prompt])])
        session.close()
        tried += 1
        inside += bool(track.mask[int(y), int(x)])
    assert inside == tried > 3
