"""The precision that masks are decoded in.

On a processor it is float32 whatever the rest is computed in: bfloat16 makes the decoder's small
products no faster there (15.9 ms for eight objects of nano, 13.9 in float32), and half of what
its rounding does to a mask comes from there.

Dimensions: N objects, C channels, H W token grid.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.model.prompt_encoder import PromptEmbedding

Tensors = TypeVar("Tensors", ImageFeatures, PromptEmbedding)


def decode(
    model: Sam2, conditioned_NCHW: Tensor, features: ImageFeatures, prompt: PromptEmbedding
) -> DecoderOutput:
    """Masks of N objects; ``features`` holds the N objects' own images."""
    if conditioned_NCHW.device.type != "cpu":
        return model.decode(conditioned_NCHW, features, prompt)
    with torch.autocast("cpu", enabled=False):
        return model.decode(conditioned_NCHW.float(), _float(features), _float(prompt))


def store_as_computed(model: Sam2, dtype: torch.dtype, device: torch.device) -> None:
    """Weights of products in the dtype of the products; results are the same bit for bit.

    Autocast rounds frozen weights anew in every call: it keeps rounded copies only of those that
    are trained.
    """
    exact = set(model.sam_mask_decoder.modules()) if device.type == "cpu" else set()
    for module in model.modules():
        if module not in exact and isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(dtype)


def _float(tensors: Tensors) -> Tensors:
    return type(tensors)(*(tensor.float() for tensor in tensors))
