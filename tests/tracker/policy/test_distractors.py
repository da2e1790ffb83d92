"""Whether the decoder's alternatives show a look-alike beside the object."""

from __future__ import annotations

import torch

from tracker.policy.distractors import alone_iou, opened

SIDE = 32


def masks(*squares: tuple[int, int, int, int]) -> torch.Tensor:
    logits = torch.full((1, 4, SIDE, SIDE), -1.0)
    for place, (x0, y0, x1, y1) in enumerate(squares, 1):
        logits[0, place, y0:y1, x0:x1] = 1.0
    return logits


OBJECT = (4, 4, 12, 12)


def share(logits: torch.Tensor, chosen: int = 1) -> float:
    return float(alone_iou(logits, torch.tensor([chosen])))


def test_look_alike_in_an_alternative_makes_the_box_larger() -> None:
    logits = masks(OBJECT, (20, 4, 28, 12), OBJECT)
    assert abs(share(logits) - 8 / 24) < 1e-6


def test_alternatives_that_agree_or_show_a_part_are_no_distractor() -> None:
    assert share(masks(OBJECT, OBJECT, (4, 4, 12, 8))) == 1.0


def test_fringe_of_another_contour_is_none() -> None:
    assert share(masks(OBJECT, (3, 3, 13, 13), OBJECT)) == 1.0


def test_look_alike_that_touches_the_border_counts() -> None:
    assert share(masks(OBJECT, (28, 4, 32, 12), OBJECT)) < 0.3


def test_opening_removes_what_is_thinner_than_three_cells() -> None:
    mask = torch.zeros(1, 12, 12, dtype=torch.bool)
    mask[0, 2:4, 1:11] = True
    mask[0, 7:10, 4:9] = True
    left = opened(mask)
    assert not left[0, 2:4].any()
    assert torch.equal(left[0, 5:], mask[0, 5:])
