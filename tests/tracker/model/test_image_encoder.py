"""The image encoder in one dtype throughout, as a CUDA device computes it."""

from __future__ import annotations

import pytest
import torch

from tests.tracker.agreement.scripts import (
    SMALL,
    SMALL_EDGETAM,
    SMALL_EFFICIENTTAM,
    model_with,
    shapes_of,
    small_weights,
)
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.pretended.device import pretended_cuda
from tracker import PRESETS, ModelConfig
from tracker.images.transforms import normalised
from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.model.onednn_linear import Linear
from tracker.model.precision import compute_in

# Three times what the same weights differ by under autocast, which rounds products only.
CLOSE = 0.05
# A half of the last of 8 bits at most, and less on average.
ROUNDED = 0.0025
CONFIGS: dict[str, ModelConfig] = {
    # Grids of 64, 32, 16 and 8: the last two are no multiple of their windows.
    "Hiera": SMALL,
    "EfficientNet-Lite": PRESETS["nano"].replaced(image_size=128),
    "RepViT": SMALL_EDGETAM,
    "ViT": SMALL_EFFICIENTTAM,
}


def differences(config: ModelConfig) -> list[float]:
    """Of the maps from float32's, as parts of their norms, on a pretended device."""
    weights = amplified_weights(shapes_of(config), seed=1)
    exact, rounded = (
        model_with(config, {key: value.clone() for key, value in weights.items()}).eval()
        for _ in range(2)
    )
    pixels = torch.randint(0, 256, (2, 3, config.image_size, config.image_size)).byte()
    with torch.inference_mode():
        expected = exact.encode_image(normalised(pixels))
        with pretended_cuda(1):
            device = torch.device("cuda:1")
            rounded = rounded.to(device)
            compute_in(rounded, torch.bfloat16, device)
            encoder = rounded.image_encoder
            assert encoder.dtype == encoder.trunk.narrow_dtype
            image = normalised(pixels.to(device), encoder.dtype)
            found = [level.cpu() for level in rounded.encode_image(image)]
    pairs = [pair for pair in zip(found, expected, strict=True) if pair[1].numel()]
    for own, _ in pairs:
        assert own.dtype == torch.bfloat16
        assert own.is_contiguous(memory_format=torch.channels_last)
    return [float((own.float() - other).norm() / other.norm()) for own, other in pairs]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_map_is_rounded_and_close_to_float32(name: str) -> None:
    assert max(differences(CONFIGS[name])) < CLOSE


def test_efficientnet_has_more_digits_than_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is the rounding of the maps themselves. With 8 bits all through it shows."""
    config = CONFIGS["EfficientNet-Lite"]
    assert max(differences(config)) < ROUNDED
    monkeypatch.setattr(EfficientNetLite, "narrow_dtype", torch.bfloat16)
    assert max(differences(config)) > 2 * ROUNDED


def test_float16_is_not_used_throughout_when_asked_for() -> None:
    """It has too small a range for Hiera's sum over all layers."""
    with pretended_cuda(1):
        model = model_with(SMALL, small_weights()).to("cuda:1")
        compute_in(model, torch.float16, torch.device("cuda:1"))
        assert model.image_encoder.dtype is None
        assert model.image_encoder.trunk.blocks[0].norm1.weight.dtype == torch.float32


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_activation_inside_the_product_is_that_behind_it(activation: str) -> None:
    layer = Linear(32, 64)
    x = torch.randn(3, 5, 32)
    with torch.inference_mode():
        expected = layer.activated(x, activation)  # type: ignore[arg-type]
        with pretended_cuda(1):
            there = layer.to("cuda:1", torch.bfloat16)
            found = there.activated(x.to("cuda:1", torch.bfloat16), activation)  # type: ignore[arg-type]
            assert found.shape == expected.shape
            torch.testing.assert_close(found.cpu().float(), expected, atol=0.03, rtol=0.02)
