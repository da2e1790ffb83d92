"""The fine-tuning example: a folder that both training and evaluation read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tracker.scenes.match import EVALUATION_SEED_START
from tracker.training import night_match
from tracker.training.folder_clips import find_sequences


def test_held_out_scenes_differ_from_training_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_match, "TRAINING_SEEDS", range(5000, 5002))
    monkeypatch.setattr(night_match, "HELD_OUT_SEEDS", range(5100, 5101))
    assert night_match.main([str(tmp_path), "--frames", "2"]) == 0
    found = {part: find_sequences(tmp_path / part) for part in ("train", "held-out")}
    assert [s.name for s in found["train"]] == ["scene-5000", "scene-5001"]
    assert [s.name for s in found["held-out"]] == ["scene-5100"]
    picture, mask = found["train"][0].frames[1]
    red, green, blue = np.asarray(Image.open(picture), dtype=np.float32).mean(axis=(0, 1))
    assert green > 1.5 * max(red, blue)
    ids = np.unique(np.asarray(Image.open(mask)))
    assert set(ids) <= {0, 1, 2, 3, 4, 5, 6}
    assert len(ids) > 3


def test_no_evaluation_seed_is_used() -> None:
    seeds = [*night_match.TRAINING_SEEDS, *night_match.HELD_OUT_SEEDS]
    assert max(seeds) < EVALUATION_SEED_START
    assert len(set(seeds)) == len(seeds)
