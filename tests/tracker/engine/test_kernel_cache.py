"""Kernels are kept in the given folder, within its bound of bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.tracker.little import LITTLE, little_tracker, model_with
from tracker import Tracker, TrackerOptions
from tracker.engine.kernel_cache import keep_kernels
from tracker.options import EngineOptions


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


def test_both_compilers_use_the_folder(tmp_path: Path) -> None:
    keep_kernels(tmp_path / "cache", 1000)
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "cache" / "triton")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "inductor")


def test_a_folder_of_the_environment_takes_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    keep_kernels(tmp_path, 1000)
    assert os.environ["TRITON_CACHE_DIR"] == "/elsewhere"


def test_the_oldest_entries_go_first(tmp_path: Path) -> None:
    old = written(tmp_path / "triton" / "old", 400, age=300)
    middle = written(tmp_path / "inductor" / "middle", 400, age=200)
    new = written(tmp_path / "triton" / "new", 400, age=100)
    keep_kernels(tmp_path, 1200)
    assert old.exists()
    keep_kernels(tmp_path, 850)
    assert [entry.exists() for entry in (old, middle, new)] == [False, True, True]
    keep_kernels(tmp_path, 0)
    assert not any(entry.exists() for entry in (old, middle, new))


def test_two_processes_may_start_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever one has listed, the other may have removed when it gets there."""
    for age, name in enumerate(("a", "b", "c")):
        written(tmp_path / "triton" / name, 400, age=age)
    stat = Path.stat

    def stat_after_the_other(path: Path, *arguments: object, **more: object) -> os.stat_result:
        if path.name in ("a", "kernel.cubin"):
            shutil.rmtree(tmp_path / "triton" / "a", ignore_errors=True)
        return stat(path, *arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stat_after_the_other)
        keep_kernels(tmp_path, 500)
    assert sorted(path.name for path in (tmp_path / "triton").iterdir()) == ["b"]
    removed = shutil.rmtree

    def removed_by_the_other(path: Path) -> None:
        removed(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(shutil, "rmtree", removed_by_the_other)
    keep_kernels(tmp_path, 0)
    assert not list((tmp_path / "triton").iterdir())


def test_a_tracker_keeps_its_kernels_where_its_options_say(tmp_path: Path) -> None:
    options = EngineOptions(kernel_cache=str(tmp_path / "kernels"))
    weights = little_tracker().model().state_dict()
    Tracker(model_with(LITTLE, weights), torch.device("cpu"), TrackerOptions(2, engine=options))
    assert (tmp_path / "kernels" / "triton").is_dir()
