"""A network that cannot be built is refused by name and value."""

from __future__ import annotations

import pytest
import torch

from tracker import PRESETS, HieraConfig, ModelConfig
from tracker.model import Sam2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_size": 1000}, "image_size must be a multiple of 32, got 1000"),
        ({"hidden_dim": 100}, "hidden_dim must be a multiple of memory_dim 64, got 100"),
        ({"hidden_dim": 36, "memory_dim": 12}, "hidden_dim must be a multiple of 8, got 36"),
        ({"memory_dim": 2}, "memory_dim must be a multiple of 4, got 2"),
        ({"decoder_heads": 3}, "decoder_heads must divide half of hidden_dim 256, got 3"),
        ({"num_maskmem": 1}, "num_maskmem must be at least 2, got 1"),
        ({"max_object_pointers": 1}, "max_object_pointers must be at least 2, got 1"),
        ({"max_conditioning_memories": 0}, "max_conditioning_memories must be at least 1, got 0"),
    ],
)
def test_impossible_network_is_refused(changes: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ModelConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_heads": 5}, "num_heads must divide embed_dim 96, got 5"),
        ({"stages": (1, 0, 1, 1)}, r"must be at least 1, got \(1, 0, 1, 1\)"),
        ({"window_sizes": (8, 4, 0, 7)}, r"and \(8, 4, 0, 7\)"),
    ],
)
def test_impossible_trunk_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        HieraConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_built(name: str) -> None:
    with torch.device("meta"):
        assert Sam2(PRESETS[name]).config.name == name
