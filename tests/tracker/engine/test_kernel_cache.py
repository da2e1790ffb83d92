"""Kernels are kept where they are told, and no more than so many bytes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tracker import Tracker, TrackerOptions
from tracker.engine.kernel_cache import keep_kernels
from tracker.engine.options import EngineOptions

from ..little import LITTLE, little_tracker, model_with


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def written(path: Path, size: int, age: int) -> Path:
    path.mkdir(parents=True)
    (path / "kernel.cubin").write_bytes(bytes(size))
    os.utime(path, ns=(10**18 - age, 10**18 - age))
    return path


def test_both_compilers_are_told_the_place(tmp_path: Path) -> None:
    keep_kernels(tmp_path / "cache", 1000)
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "cache" / "triton")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "inductor")


def test_a_place_of_the_environment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    keep_kernels(tmp_path, 1000)
    assert os.environ["TRITON_CACHE_DIR"] == "/elsewhere"


def test_what_was_written_longest_ago_goes_first(tmp_path: Path) -> None:
    old = written(tmp_path / "triton" / "old", 400, age=300)
    middle = written(tmp_path / "inductor" / "middle", 400, age=200)
    new = written(tmp_path / "triton" / "new", 400, age=100)
    keep_kernels(tmp_path, 1200)
    assert old.exists()
    keep_kernels(tmp_path, 850)
    assert [entry.exists() for entry in (old, middle, new)] == [False, True, True]
    keep_kernels(tmp_path, 0)
    assert not any(entry.exists() for entry in (old, middle, new))


def test_a_tracker_keeps_its_kernels_where_its_options_say(tmp_path: Path) -> None:
    options = EngineOptions(kernel_cache=str(tmp_path / "kernels"))
    weights = little_tracker().model().state_dict()
    Tracker(model_with(LITTLE, weights), torch.device("cpu"), TrackerOptions(2, engine=options))
    assert (tmp_path / "kernels" / "triton").is_dir()
