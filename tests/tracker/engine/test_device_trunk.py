"""Trunks in fused passes are used only where their maps are right; the kernels: test_triton_*."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tracker.agreement.scripts import (
    SMALL,
    SMALL_EDGETAM,
    SMALL_EFFICIENTTAM,
    model_with,
    shapes_of,
)
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS, ModelConfig
from tracker.engine import device_trunk
from tracker.engine.image_sizes import at_size
from tracker.model import Sam2
from tracker.model.hiera import plus_windows, to_windows
from tracker.model.precision import compute_in


def model(config: ModelConfig = SMALL) -> Sam2:
    made = model_with(config, amplified_weights(shapes_of(config), seed=1))
    made.image_encoder.store_throughout(torch.bfloat16)
    return made


def by_torch(
    x: Tensor,
    update: Tensor | None,
    norm: nn.LayerNorm,
    grid: tuple[int, int, int],
    x_window: int = 0,
    update_window: int = 0,
    window: int = 0,
) -> tuple[Tensor, Tensor]:
    """What the kernel computes."""
    total = x.new_zeros(*grid, x.shape[3])
    for part, own in ((x, x_window), (update, update_window)):
        if part is not None:
            total = plus_windows(total, part) if own else total + part
    normed = F.layer_norm(total, total.shape[3:], norm.weight, norm.bias, norm.eps)
    return total, to_windows(normed, window) if window else normed


def mixed_by_torch(
    x: Tensor, scale: Tensor | None, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
) -> Tensor:
    """What the kernel of RepViT computes."""
    x = x if scale is None else x * scale[:, None, None]
    return x + F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)


def used(kernel: Any, monkeypatch: pytest.MonkeyPatch, config: ModelConfig = SMALL) -> list[bool]:
    """Whether the trunks of two image sizes run by this kernel."""
    name = "mix_channels" if config is SMALL_EDGETAM else "add_norm_windows"
    monkeypatch.setattr(device_trunk, name, kernel)
    models = [model(config), at_size(model(config), 192)]
    with torch.inference_mode():
        device_trunk.use_where_it_works(models)
        for each in models:
            side = each.config.image_size
            each.image_encoder.trunk(torch.randn(1, 3, side, side).bfloat16())
    return [each.image_encoder.trunk.fused is not None for each in models]


def test_right_maps_are_used_at_every_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(by_torch, monkeypatch) == [True, True]
    assert used(by_torch, monkeypatch, SMALL_EFFICIENTTAM) == [True, True]
    assert used(mixed_by_torch, monkeypatch, SMALL_EDGETAM) == [True, True]


def test_wrong_maps_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forgetful(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        total, normed = by_torch(*arguments, **options)
        return total, normed.roll(1, dims=1)

    def unscaled(x: Tensor, _: object, *others: Tensor) -> Tensor:
        return mixed_by_torch(x, None, *others)

    assert used(forgetful, monkeypatch) == [False, False]
    assert used(unscaled, monkeypatch, SMALL_EDGETAM) == [False, False]
    assert "without Triton: it is off by" in caplog.text


def test_a_device_without_the_kernel_computes_in_the_networks_own_passes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no kernel image is available")

    assert used(missing, monkeypatch) == [False, False]
    assert "the image encoder runs without Triton: no kernel image is available" in caplog.text


def test_float32_stays_as_it_is() -> None:
    plain = model_with(SMALL, amplified_weights(shapes_of(SMALL), seed=1))
    device_trunk.use_where_it_works([plain])
    assert plain.image_encoder.trunk.fused is None


@pytest.mark.gpu
def test_on_a_device_tiny_is_computed_by_the_kernel() -> None:
    device = torch.device("cuda")
    made = Sam2(PRESETS["sam2.1_hiera_tiny"]).to(device).eval()
    compute_in(made, torch.bfloat16, device)
    with torch.inference_mode():
        device_trunk.use_where_it_works([made])
    assert made.image_encoder.trunk.fused is device_trunk.hiera_maps
