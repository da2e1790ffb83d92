"""Sources are drawn by size, and small ones are not lost."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tracker.training.sources import FLOOR, draw_group, draw_item, shares


def test_sources_are_drawn_by_size_with_a_floor() -> None:
    small, middle, large = shares([(0, 10), (10, 310), (310, 1000)])
    raised = FLOOR + 0.3 + 0.69
    assert small == pytest.approx(FLOOR / raised)
    assert middle == pytest.approx(0.3 / raised)
    assert large == pytest.approx(0.69 / raised)


def test_draws_follow_the_shares_and_the_seed() -> None:
    groups = [(0, 10), (10, 310), (310, 1000)]

    def drawn(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return [draw_item(groups[draw_group(groups, generator)], generator) for _ in range(2000)]

    items = drawn(1)
    assert items == drawn(1)
    assert items != drawn(2)
    found = Counter(0 if item < 10 else 1 if item < 310 else 2 for item in items)
    for number, share in enumerate(shares(groups)):
        assert found[number] / 2000 == pytest.approx(share, abs=0.04)
