"""What ``masklet doctor`` finds of the devices and the processor of this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from streamer.cli.doctor.doctor import check_device, check_paths
from streamer.cli.doctor.findings import Level
from streamer.config.schema import MaskletConfig
from tracker.config import PRESETS
from tracker.engine.kept_choices import KeptChoices
from tracker.engine.path_choice import PathChoice
from tracker.model.cpu_paths import FUSED, CpuPaths


@pytest.mark.parametrize(
    ("capability", "wanted", "level"),
    [
        ((9, 0), "bfloat16", Level.OK),
        ((7, 5), "auto", Level.NOTE),
        ((7, 5), "bfloat16", Level.MISSING),
    ],
)
def test_a_device_without_bfloat16_is_shown_with_what_to_set(
    capability: tuple[int, int], wanted: str, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = SimpleNamespace(name="a device", total_memory=2**34, multi_processor_count=16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    config = MaskletConfig.model_validate({"model": {"compute_dtype": wanted}})
    (found,) = (each for each in check_device(config) if each.subject == "cuda:0")
    assert found.level is level
    if level is not Level.OK:
        assert "compute capability 7.5" in found.text
        assert "model.compute_dtype" in found.advice


def test_the_paths_of_the_processor_are_shown_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    config = MaskletConfig.model_validate({"model": {"device": "cpu"}})
    *before, last = (each.text for each in check_paths(config))
    assert len(before) == 3
    assert "the first start of a small model measures it" in last
    assert all("; measured now: " in text and " ms" in text for text in before)
    times = {name: {"mkl": 1.0, "fused": 2.0} for name in ("linear", "narrow", "wide")}
    choice = PathChoice(CpuPaths("mkl", FUSED, FUSED), times)
    KeptChoices(tmp_path).keep(PRESETS["nano"], choice)
    assert next(check_paths(config)).text == (
        "linear layers by mkl; measured at an earlier start: mkl 1.00 ms, fused 2.00 ms"
    )
    monkeypatch.setattr("tracker.engine.openvino_parts.version", lambda: None)
    KeptChoices(tmp_path).keep(PRESETS["nano"], choice)
    *_, missing = check_paths(config)
    assert missing.advice == "pip install 'masklet[openvino]'"
