"""Scripts of a stream: frames, prompts, corrections, removals; and a small network for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from tests.tracker.agreement.weights import amplified_weights
from tracker import HieraConfig, ModelConfig, Prompt
from tracker.config import PerceiverConfig, RepVitConfig, VitConfig
from tracker.model import Sam2
from tracker.weights.repvit_layout import fold, unfolded_shapes

IMAGE_SIZE = 256

# Windows 14 and 7 do not divide the grids of 16 and 8, so padding is attended, and the first
# blocks of the stages work in the window before; both were easily got wrong.
SMALL = ModelConfig(
    name="small",
    image_size=IMAGE_SIZE,
    trunk=HieraConfig(
        embed_dim=16,
        num_heads=1,
        stages=(1, 2, 2, 1),
        global_attention_blocks=(4,),
        window_sizes=(8, 4, 14, 7),
        background_size=(7, 7),
    ),
    hidden_dim=128,
    memory_attention_layers=2,
    memory_attention_feed_forward=256,
    decoder_feed_forward=256,
    iou_head_hidden=64,
    memory_dtype="float32",
)

# The perceiver's windows are 4 × 4 tokens, as those of EdgeTAM.
SMALL_EDGETAM = SMALL.replaced(
    name="small_edgetam",
    generation="2.0",
    trunk=RepVitConfig((16, 24, 32, 48), (1, 1, 2, 1)),
    perceiver=PerceiverConfig(latents=8, grid_side=4),
)

# Windows do not divide the grid of 16, and the position table is stretched to it.
SMALL_EFFICIENTTAM = SMALL.replaced(
    name="small_efficienttam",
    generation="2.0",
    trunk=VitConfig(32, 2, 3, (1,), 7, 5),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame and what is done on it, in this order.

    ``corrections`` are rounds of prompts given after the frame was tracked; then ``removals``.
    """

    image: npt.NDArray[np.uint8]
    prompts: Sequence[Prompt] = ()
    corrections: Sequence[Sequence[Prompt]] = ()
    removals: Sequence[int] = ()


def shapes_of(config: ModelConfig) -> dict[str, torch.Size]:
    """Names and shapes in a file of a network's parameters, without making them."""
    with torch.device("meta"):
        return unfolded_shapes(Sam2(config).state_dict())


@cache
def small_weights(
    generation: str = "2.1", object_score_bias: float = 0.0
) -> dict[str, torch.Tensor]:
    """The amplified weights of ``SMALL``."""
    config = SMALL.replaced(generation=generation)
    return amplified_weights(shapes_of(config), seed=0, object_score_bias=object_score_bias)


@cache
def small_edgetam_weights() -> dict[str, torch.Tensor]:
    """The amplified weights of ``SMALL_EDGETAM``; its objects come and go."""
    return amplified_weights(shapes_of(SMALL_EDGETAM), seed=0, object_score_bias=8.0)


@cache
def small_efficienttam_weights() -> dict[str, torch.Tensor]:
    """The amplified weights of ``SMALL_EFFICIENTTAM``; its objects come and go."""
    return amplified_weights(shapes_of(SMALL_EFFICIENTTAM), seed=0, object_score_bias=5.0)


def model_with(config: ModelConfig, weights: dict[str, torch.Tensor]) -> Sam2:
    """Our network with exactly these parameters, named as in a file."""
    with torch.device("meta"):
        model = Sam2(config)
    own = model.state_dict()
    assert weights.keys() == unfolded_shapes(own).keys()
    model.load_state_dict(fold(weights, own), assign=True)
    return model


@cache
def picture(seed: int, height: int = IMAGE_SIZE, width: int = IMAGE_SIZE) -> npt.NDArray[np.uint8]:
    """Random texture with structure at every scale, (height, width, 3)."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, height, width)
    for cells in (3, 12, 48, 192):
        noise = torch.randn(1, 3, cells, cells, generator=generator)
        total += F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
    pixels = (128 + 45 * total[0]).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def disc(x: float, y: float, radius: float, size: int = IMAGE_SIZE) -> npt.NDArray[np.bool_]:
    """A round mask."""
    rows, columns = np.ogrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
