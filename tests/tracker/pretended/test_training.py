"""Training on a CUDA device that is not there learns what it learns on a processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.training.tiny_model import TINY
from tracker.training.assets import load_assets
from tracker.training.data import ComposedClips
from tracker.training.loop import Run, Trainer
from tracker.training.recipe import Phase, Recipe
from tracker.training.tally import Tally

RECIPE = Recipe(
    phases=(
        Phase("images", 1, 64, 4, 1, match_share=0.0),
        Phase("clips", 2, 64, 2, 3, match_share=0.0, place_memory=True, correction_share=1.0),
    ),
    warmup_steps=1,
    threads=1,
)


class Losses(Tally):
    """Keeps every step's."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def add(self, result: Any, loss: float, *others: Any) -> None:
        self.found.append(loss)
        super().add(result, loss, *others)


def losses(out: Path, device: str) -> list[float]:
    """Of a step on images and two on clips."""
    source = ComposedClips(load_assets(None), None, TINY.image_size)
    trainer = Trainer(TINY, RECIPE, source, Run(out, 3, torch.device(device)))
    tally = Losses()
    for _ in range(3):
        trainer.one_step(tally)
    return tally.found


def test_it_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It asks the driver whether a graph is being captured.
    check = "_accelerator_graph_capture_health_check"
    monkeypatch.setattr(torch.optim.Optimizer, check, lambda self: None, raising=False)
    expected = losses(tmp_path, "cpu")
    with pretended_cuda(1):
        found = losses(tmp_path, "cuda:1")
    assert found == pytest.approx(expected, rel=1e-3)
    assert len(set(found)) == 3
