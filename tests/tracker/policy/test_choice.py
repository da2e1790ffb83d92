"""Which mask is taken: motion, competition between objects of one stream, floods."""

from __future__ import annotations

import torch

from tracker.model import DecoderOutput
from tracker.policy.choice import Choice, Expectation, choose
from tracker.policy.options import RobustOptions

SIDE = 64
Square = tuple[int, int, int, int]
LEFT, RIGHT, MIDDLE = (4, 20, 16, 40), (44, 20, 56, 40), (24, 20, 36, 40)
EVERYTHING = (0, 0, SIDE, SIDE)


def decoded(*objects: list[tuple[Square, float]]) -> DecoderOutput:
    """Three masks of each object, with their predicted IoU."""
    logits = torch.full((len(objects), 4, SIDE, SIDE), -5.0)
    iou = torch.zeros(len(objects), 4)
    for row, masks in enumerate(objects):
        for place, ((x0, y0, x1, y1), score) in enumerate(masks, 1):
            logits[row, place, y0:y1, x0:x1] = 5.0
            iou[row, place] = score
    count = len(objects)
    return DecoderOutput(logits, iou, torch.zeros(count, 4, 8), torch.ones(count, 1))


def expecting(
    *squares: Square,
    steady: bool = True,
    known: bool = True,
    usual_area: float = 0.05,
    streams: tuple[int, ...] | None = None,
) -> Expectation:
    count = len(squares)
    return Expectation(
        torch.tensor(squares) / SIDE,
        torch.full((count,), known),
        torch.full((count,), steady),
        torch.full((count,), usual_area),
        torch.tensor(streams or (0,) * count),
        torch.arange(count),
    )


def chosen(output: DecoderOutput, expected: Expectation, **options: float) -> Choice:
    several = len(output.predicted_iou_N4) > 1
    techniques = {"motion_weight": 0.2, "competition": True, "reject_floods": True} | options
    return choose(output, expected, RobustOptions(**techniques), several)  # type: ignore[arg-type]


TWO = [(LEFT, 0.70), (RIGHT, 0.74), (MIDDLE, 0.1)]


def test_place_decides_between_masks_that_are_about_as_good() -> None:
    assert chosen(decoded(TWO), expecting(LEFT)).mask_N.tolist() == [1]
    assert chosen(decoded(TWO), expecting(RIGHT)).mask_N.tolist() == [2]


def test_predicted_iou_alone_decides_without_weight_or_before_motion_is_steady() -> None:
    assert chosen(decoded(TWO), expecting(LEFT), motion_weight=0).mask_N.tolist() == [2]
    assert chosen(decoded(TWO), expecting(LEFT, steady=False)).mask_N.tolist() == [2]


def test_a_much_better_mask_is_taken_wherever_it_is() -> None:
    output = decoded([(LEFT, 0.3), (RIGHT, 0.9), (MIDDLE, 0.1)])
    assert chosen(output, expecting(LEFT)).mask_N.tolist() == [2]


def test_one_region_has_one_owner_and_the_other_takes_its_next_best() -> None:
    """The left object's best mask is the look-alike on the right, whose own place that is."""
    output = decoded([(RIGHT, 0.9), (LEFT, 0.6), (MIDDLE, 0.1)], TWO)
    expected = expecting(LEFT, RIGHT, steady=False)
    assert chosen(output, expected).mask_N.tolist() == [2, 2]
    assert chosen(output, expected, competition=False).mask_N.tolist() == [1, 2]


def test_who_has_no_region_left_is_not_seen() -> None:
    output = decoded([(RIGHT, 0.9)] * 3, TWO)
    choice = chosen(output, expecting(LEFT, RIGHT, steady=False))
    assert choice.shown_N.tolist() == [False, True]


def test_objects_of_other_streams_do_not_compete() -> None:
    output = decoded([(RIGHT, 0.9)] * 3, TWO)
    choice = chosen(output, expecting(LEFT, RIGHT, steady=False, streams=(0, 1)))
    assert choice.shown_N.tolist() == [True, True]


def test_who_is_absent_owns_nothing() -> None:
    output = decoded([(RIGHT, 0.5)] * 3, TWO)
    output.object_score_logit_N1[1] = -1
    choice = chosen(output, expecting(LEFT, RIGHT, steady=False))
    assert choice.shown_N.tolist() == [True, True]


def test_small_object_in_front_of_a_large_one_is_no_rival() -> None:
    ball = (46, 24, 50, 28)
    output = decoded([(ball, 0.6)] * 3, [(RIGHT, 0.9)] * 3)
    assert chosen(output, expecting(ball, RIGHT)).shown_N.tolist() == [True, True]


def test_a_chain_of_losers_is_resolved_and_ties_go_to_the_first() -> None:
    output = decoded(
        [(LEFT, 0.9)] * 3,
        [(LEFT, 0.8), (MIDDLE, 0.7), (MIDDLE, 0.7)],
        [(MIDDLE, 0.6), (RIGHT, 0.5), (RIGHT, 0.5)],
        [(LEFT, 0.9)] * 3,
    )
    choice = chosen(output, expecting(*[EVERYTHING] * 4, known=False, steady=False))
    assert choice.mask_N.tolist()[:3] == [1, 2, 2]
    assert choice.shown_N.tolist() == [True, True, True, False]


def test_mask_that_floods_the_picture_is_refused() -> None:
    output = decoded([(EVERYTHING, 0.6)] * 3)
    assert chosen(output, expecting(LEFT)).shown_N.tolist() == [False]
    assert chosen(output, expecting(LEFT), reject_floods=False).shown_N.tolist() == [True]


def test_large_object_and_a_sure_network_are_believed() -> None:
    unsure, sure = decoded([(EVERYTHING, 0.6)] * 3), decoded([(EVERYTHING, 0.95)] * 3)
    assert chosen(unsure, expecting(LEFT, usual_area=0.7)).shown_N.tolist() == [True]
    assert chosen(unsure, expecting(LEFT, usual_area=0.0)).shown_N.tolist() == [True]
    assert chosen(sure, expecting(LEFT)).shown_N.tolist() == [True]
