"""Clips of the rendered match: recorded once, seeds apart from those of the evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tracker.training import match_clips
from tracker.training.match_clips import MatchPool


@pytest.fixture
def short_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_clips, "_SCENE_FRAMES", 8)


@pytest.mark.usefixtures("short_scenes")
def test_a_pool_is_rendered_once_and_gives_clips_with_players(tmp_path: Path) -> None:
    done: list[int] = []
    pool = MatchPool.open(tmp_path, 2, 0, done.append)
    assert done == [1, 2]
    again = MatchPool.open(tmp_path, 2, 0, done.append)
    assert done == [1, 2]
    assert again.scenes == pool.scenes == 2

    generator = torch.Generator().manual_seed(5)
    batch = pool.compose(generator, 4, 3, 2, 64, 128, 0.3)
    assert batch.images_BT3SS.shape == (4, 3, 3, 64, 64)
    assert batch.masks_BTKSS.shape == (4, 3, 2, 64, 64)
    assert bool(batch.counted().any())
    assert int(batch.masks_BTKSS.sum(dim=2).max()) <= 1
    same = pool.compose(torch.Generator().manual_seed(5), 4, 3, 2, 64, 128, 0.3)
    assert torch.equal(batch.images_BT3SS, same.images_BT3SS)


def test_seeds_of_the_evaluation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training seeds end below 10000"):
        MatchPool.open(tmp_path, 2, 5000, lambda _: None)
