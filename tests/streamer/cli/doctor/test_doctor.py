"""What ``masklet doctor`` finds of the devices of this machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from streamer.cli.doctor.doctor import check_device
from streamer.cli.doctor.findings import Level
from streamer.config.schema import MaskletConfig


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
    device = SimpleNamespace(name="a device", total_memory=2**34)
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
