"""Clips of the rendered match: recorded once, seeds apart from those of the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tracker.training import match_clips
from tracker.training.disappear import cover
from tracker.training.match_clips import MatchPool, Shares


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


@pytest.mark.usefixtures("short_scenes")
def test_a_pool_is_the_same_however_many_processes_render_it(tmp_path: Path) -> None:
    alone = MatchPool.open(tmp_path / "alone", 2, 0, lambda _: None)
    done: list[int] = []
    shared = MatchPool.open(tmp_path / "shared", 2, 0, done.append, processes=2)
    assert done == [1, 2]
    assert np.array_equal(alone.images, shared.images)
    assert np.array_equal(alone.owners, shared.owners)


def test_seeds_of_the_evaluation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training seeds end below 10000"):
        MatchPool.open(tmp_path, 2, 5000, lambda _: None)


@pytest.mark.usefixtures("short_scenes")
def test_objects_are_hidden_as_often_as_configured(tmp_path: Path) -> None:
    pool = MatchPool.open(tmp_path, 2, 0, lambda _: None)

    def absent_share(shares: Shares) -> float:
        batch = pool.compose(torch.Generator().manual_seed(2), 12, 5, 2, 64, 64, 0.3, shares)
        seen = batch.masks_BTKSS.flatten(3).any(dim=3).transpose(1, 2).flatten(0, 1)
        return 1 - float(seen[batch.counted()].float().mean())

    plain = absent_share(Shares())
    assert absent_share(Shares(covered=1.0)) > plain + 0.1
    assert absent_share(Shares(camera=1.0)) > plain


def test_a_covered_object_has_no_mask_and_the_first_frame_stays() -> None:
    images = torch.zeros(6, 3, 32, 32)
    owners = torch.zeros(6, 32, 32)
    owners[:, 10:16, 10:16], images[:, :, 10:16, 10:16] = 3, 1.0
    for seed in range(8):
        shown, left = cover(torch.Generator().manual_seed(seed), images, owners, 3)
        seen = (left == 3).flatten(1).any(dim=1)
        assert bool(seen[0])
        assert not bool(seen.all())
        assert torch.equal(shown[0], images[0])
        for frame in range(6):
            if not seen[frame]:
                assert not torch.equal(shown[frame], images[frame])
