"""A network and a recipe small enough to train inside a test."""

from __future__ import annotations

import pytest
import torch

from tests.tracker.training.tiny_model import TINY
from tracker.config import ModelConfig
from tracker.training.recipe import Phase, Recipe


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_config() -> ModelConfig:
    """64-pixel images, 4 x 4 tokens, 32 channels."""
    return TINY


@pytest.fixture
def tiny_recipe() -> Recipe:
    """Images for a few steps, then clips of three frames with the memory put in place."""
    return Recipe(
        phases=(
            Phase("images", 3, 64, 4, 1, match_share=0.0, learning_rate=(3e-3, 3e-3)),
            Phase("clips", 3, 64, 2, 3, match_share=0.0, place_memory=True, correction_share=1.0),
        ),
        warmup_steps=1,
        log_every=1,
        checkpoint_every=1000,
        threads=1,
    )
