"""Prompts are placed as by a user; losses reward correct masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tracker.model.mask_decoder import DecoderOutput
from tracker.training.losses import frame_loss
from tracker.training.prompts import boxes, clicks, corrections
from tracker.training.recipe import LossWeights

SIDE = 64


def square(top: int, left: int, side: int) -> Tensor:
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_box_is_that_of_the_mask_within_its_jitter() -> None:
    points, labels = boxes(square(10, 20, 20), generator())
    assert labels.tolist() == [[2, 3]]
    expected = torch.tensor([[[20.0, 10.0], [40.0, 30.0]]])
    assert float((points - expected).abs().max()) <= 0.08 * 20 + 1e-4


def test_clicks_land_inside() -> None:
    masks = square(10, 20, 12).expand(50, -1, -1)
    points, labels = clicks(masks, generator())
    assert bool((labels == 1).all())
    x, y = points[:, 0].long().unbind(1)
    assert bool(masks[0][y, x].all())


def test_a_correction_goes_into_the_larger_error_with_its_sign() -> None:
    truth = square(10, 10, 20)
    missed_points, missed_labels = corrections(square(10, 10, 5), truth, generator())
    excess_points, excess_labels = corrections(square(10, 10, 40), truth, generator())
    assert missed_labels.item() == 1
    assert excess_labels.item() == 0
    assert float(missed_points.max()) < 30
    assert float(excess_points.max()) >= 30


def output(logits_4hw: Tensor, iou: float, score: float) -> DecoderOutput:
    return DecoderOutput(
        logits_4hw.unsqueeze(0),
        torch.full((1, 4), iou),
        torch.zeros(1, 4, 8),
        torch.tensor([[score]]),
    )


def loss_of(logits_4hw: Tensor, mask: Tensor, *, single: bool = False, score: float = 9.0) -> float:
    yes = torch.ones(1, dtype=torch.bool)
    result = frame_loss(
        output(logits_4hw, 1.0, score), mask, yes, torch.tensor([single]), LossWeights(all_masks=0)
    )
    return float(result.total)


def perfect(mask: Tensor) -> Tensor:
    small = mask[:, ::4, ::4].float() * 40 - 20
    return small.expand(4, -1, -1).clone()


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does() -> None:
    mask = square(8, 8, 32)
    assert loss_of(perfect(mask), mask) < 0.02
    assert loss_of(-perfect(mask), mask) > 5


def test_one_good_mask_of_three_is_enough_unless_the_prompt_is_unambiguous() -> None:
    mask = square(8, 8, 32)
    logits = -perfect(mask)
    logits[2] *= -1
    # Only the IoUs claimed for the two wrong ones cost.
    assert loss_of(logits, mask) < 1.0
    assert loss_of(logits, mask, single=True) > 5


def test_an_absent_object_trains_the_score_but_no_mask() -> None:
    nothing = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    logits = torch.randn(4, 16, 16) * 10
    assert loss_of(logits, nothing, score=-9.0) == pytest.approx(0, abs=1e-3)
    assert loss_of(logits, nothing, score=9.0) == pytest.approx(9, abs=0.1)
