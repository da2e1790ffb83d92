"""Which mask is taken: the one of the highest predicted IoU, but no flood."""

from __future__ import annotations

import torch

from tracker.model import DecoderOutput
from tracker.policy.choice import Choice, choose

SIDE = 64
Square = tuple[int, int, int, int]
LEFT, RIGHT, MIDDLE = (4, 20, 16, 40), (44, 20, 56, 40), (24, 20, 36, 40)
EVERYTHING = (0, 0, SIDE, SIDE)


def decoded(*masks: tuple[Square, float]) -> DecoderOutput:
    """Three masks of one object, with their predicted IoU."""
    logits = torch.full((1, 4, SIDE, SIDE), -5.0)
    iou = torch.zeros(1, 4)
    for place, ((x0, y0, x1, y1), score) in enumerate(masks, 1):
        logits[0, place, y0:y1, x0:x1] = 5.0
        iou[0, place] = score
    return DecoderOutput(logits, iou, torch.zeros(1, 4, 8), torch.ones(1, 1))


def chosen(
    output: DecoderOutput, usual_area: float = 0.05, *, reject_floods: bool = True
) -> Choice:
    return choose(output, torch.tensor([usual_area]), reject_floods=reject_floods)


def test_the_mask_of_the_highest_predicted_iou_is_taken() -> None:
    choice = chosen(decoded((LEFT, 0.70), (RIGHT, 0.74), (MIDDLE, 0.1)))
    assert choice.mask_N.tolist() == [2]
    assert choice.shown_N.tolist() == [True]


def test_mask_that_floods_the_picture_is_refused() -> None:
    output = decoded(*[(EVERYTHING, 0.6)] * 3)
    assert chosen(output).shown_N.tolist() == [False]
    assert chosen(output, reject_floods=False).shown_N.tolist() == [True]


def test_large_object_and_a_sure_network_are_believed() -> None:
    unsure, sure = decoded(*[(EVERYTHING, 0.6)] * 3), decoded(*[(EVERYTHING, 0.95)] * 3)
    assert chosen(unsure, usual_area=0.7).shown_N.tolist() == [True]
    assert chosen(unsure, usual_area=0.0).shown_N.tolist() == [True]
    assert chosen(sure).shown_N.tolist() == [True]
