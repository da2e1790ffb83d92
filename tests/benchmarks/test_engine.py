"""The engine's benchmark: implementations alternate within a cell; a step is profiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import engine, engine_profile, engine_report, implementations
from benchmarks.engine import EngineCell
from benchmarks.implementations import Setting
from benchmarks.results import Results
from tests.tracker.agreement.scripts import SMALL
from tracker.engine.path_choice import PathChoice
from tracker.model.cpu_paths import BY_MKL, FUSED, AttentionPath, CpuPaths

CELL = EngineCell("tiny", 256, objects=2, streams=2)


def test_cells_are_named() -> None:
    assert EngineCell.named("base_plus-1024-4-1") == EngineCell("base_plus", 1024, 4, 1)
    for name in ("edgetam", "efficienttam_ti", "efficienttam_s"):
        assert EngineCell.named(f"{name}-512-1-1").config().name == name
    assert all(EngineCell.named(cell.name) == cell for cell in engine.FULL)
    with pytest.raises(ValueError, match="tiny-1024-4-1, got huge-1024-1-1"):
        EngineCell.named("huge-1024-1-1")


def test_implementations_alternate_and_are_plotted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        def __init__(self, *_: object) -> None:
            raise RuntimeError("it is not there")

    monkeypatch.setitem(implementations.IMPLEMENTATIONS, "official", Missing)  # type: ignore[arg-type]
    names = ["masklet", "masklet-bfloat16", "transformers", "official"]
    timed = engine.measure_time(CELL, SMALL, names, Setting(streams=2, graphs=False), rounds=1)
    assert list(timed["seconds"]["host"]) == names[:3]
    assert "device" not in timed["seconds"]
    assert "it is not there" in timed["refused"]["official"]
    memory = {"peak_mib": 300.0, "imports_mib": 200.0}
    cell = timed | {"memory": dict.fromkeys(names, memory)}
    header, rule, *rows = engine_report.report([cell]).splitlines()
    assert header.endswith("| peak memory | against masklet | against masklet-bfloat16 |")
    assert [row.split(" | ")[3] for row in rows[:4]] == names
    assert {row.count("|") for row in (header, rule, *rows[:4])} == {12}
    seconds = {name: own[0] for name, own in timed["seconds"]["host"].items()}
    against = seconds["transformers"] / seconds["masklet-bfloat16"]
    assert rows[2].endswith(
        f"| 100 MiB | {seconds['transformers'] / seconds['masklet']:.2f} | {against:.2f} |"
    )
    engine_report.plot([cell], tmp_path / "engine.png")
    assert (tmp_path / "engine.png").stat().st_size > 1000


def test_one_of_ours_always_computes_in_bfloat16() -> None:
    image = engine.picture(1, 360, 640)
    stored = [
        {
            weight.dtype
            for weight in engine.ready(
                name, CELL, SMALL, Setting(graphs=False), image
            ).model.parameters()
        }
        for name in implementations.OURS
    ]
    assert stored == [{torch.float32}, {torch.float32, torch.bfloat16}]


def test_no_round_starts_beyond_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    official = implementations.IMPLEMENTATIONS["transformers"]
    monkeypatch.setitem(implementations.IMPLEMENTATIONS, "official", official)
    names = ["masklet", "official"]
    timed = engine.measure_time(
        CELL, SMALL, names, Setting(streams=2, graphs=False), 5, budget_s=0.01
    )
    assert "not ready" in timed["refused"]["official"]
    assert timed["rounds"] == len(timed["seconds"]["host"]["masklet"]) == 1


def test_finished_cells_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def in_own_process(mode: str, cell: EngineCell, names: list[str], options: list[str]) -> object:
        asked.append(f"{mode} {cell.name} {'+'.join(names)}")
        return {"seconds": {"host": {"masklet": [1.0]}}}

    monkeypatch.setattr(engine_report, "in_own_process", in_own_process)
    for _ in range(2):
        engine_report.measure_cells(Results(tmp_path), [CELL], ["masklet"], "cpu", "float32", 1, 60)
    assert asked == ["time tiny-256-2-2 masklet", "memory tiny-256-2-2 masklet"]


def test_the_parts_of_a_step_are_timed() -> None:
    profile = engine_profile.measure_profile(
        CELL, SMALL, Setting(streams=2, graphs=False), rounds=1
    )
    parts = set(engine_profile.PARTS)
    assert parts <= set(profile["seconds"])
    assert sum(profile["seconds"][part] for part in parts) < profile["seconds"]["step"]
    assert profile["gflop"]["attend_memory"] > 0
    assert "| memory attention, per object |" in engine_profile.report(profile)


@pytest.mark.parametrize("path", [FUSED, BY_MKL])
def test_every_product_is_counted(
    path: AttentionPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counted operations match the algebra, whichever library multiplies."""
    times = {name: {"mkl": 1.0} for name in ("linear", "narrow", "wide")}
    chosen = PathChoice(CpuPaths("mkl", path, FUSED), times)
    monkeypatch.setattr(implementations, "cache_folder", lambda: tmp_path)  # nothing is kept
    monkeypatch.setattr("tracker.engine.network_parts.measure", lambda _: chosen)
    entry = engine.ready("masklet", CELL, SMALL, Setting(graphs=False), engine.picture(1, 360, 640))
    assert isinstance(entry, implementations.Masklet)
    gflop = engine_profile._operations(entry, engine.picture(1, 360, 640))
    length, width, objects = SMALL.grid_size**2, SMALL.hidden_dim, 2
    keys = 7 * length + 16 * SMALL.pointer_tokens
    layers = SMALL.memory_attention_layers
    value_width = width if path is FUSED else SMALL.memory_dim
    cross = layers * objects * 2 * length * keys * (width + value_width) / 1e9
    assert cross < gflop["attend_memory"] < 2 * cross
