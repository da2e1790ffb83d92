"""Seeded random weights under Meta's names in which every parameter has a visible effect.

Freshly initialised networks hide mistakes: biases are zero, norms are the identity, layer
scales are 1e-6, attention is all but uniform. Here every parameter is drawn so that changing it
changes the masks. Two things need care:

- what a normalisation reads is quiet (a variance of a few hundredths), so that a wrong epsilon
  is many times louder than rounding;
- a frame depends on the one before it, but not so much that rounding grows from frame to frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch

_TABLE = re.compile(r"(_tokens?|_embed|point_embeddings\.\d)\.weight$")
OBJECT_SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"

# Standard deviation of a weight, times the square root of its inputs; the first part that occurs
# in the name decides. Attention in the decoder is sharp, so that it looks somewhere in particular.
_QUIET, _PLAIN = 0.15, 1.0
_GAINS: tuple[tuple[str, float], ...] = (
    ("patch_embed.proj", _QUIET),
    ("attn.proj", _QUIET),
    ("mlp.layers.1", _QUIET),
    ("channel_mixer.conv2", 0.3),
    ("ffn.conv2", 0.3),
    ("to_out", 0.1),
    ("ff.3", 0.1),
    ("neck.convs", 0.05),
    ("dwconv", 0.03),
    ("memory_encoder.out_proj", _PLAIN),
    ("cross_attn_image.out_proj", 0.3),
    ("memory_attention.layers", _PLAIN),
    ("token_to_image.q_proj", 3.0),
    ("token_to_image.k_proj", 3.0),
    ("token_to_image.out_proj", 2.0),
    ("cross_attn_image_to_token.out_proj", _PLAIN),
    ("out_proj", _QUIET),
    ("conv_s1", _QUIET),
    ("mask_downscaling.6", 0.1),
    ("output_upscaling.0", _QUIET),
    ("obj_ptr_proj", 1.5),
    ("output_hypernetworks_mlps", 1.5),
    ("pred_obj_score_head", 3.0),
    ("iou_prediction_head", 1.5),
)


def amplified_weights(
    shapes: Mapping[str, torch.Size | tuple[int, ...]],
    seed: int,
    object_score_bias: float = 0.0,
) -> dict[str, torch.Tensor]:
    """Draw one float32 tensor for each name; the same for a name whatever the others are.

    ``object_score_bias`` is the final bias of the occlusion head; it puts a script's scores on
    both sides of zero.
    """
    weights = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(_seed_of(name, seed))
        weights[name] = _draw(name, torch.randn(tuple(shape), generator=generator))
    weights[OBJECT_SCORE_BIAS].fill_(object_score_bias)
    return weights


def _seed_of(name: str, seed: int) -> int:
    value = seed
    for character in name:
        value = (value * 1_000_003 + ord(character)) % (2**31 - 1)
    return value


def _draw(name: str, normal: torch.Tensor) -> torch.Tensor:
    gain = next((gain for part, gain in _GAINS if part in name), _PLAIN)
    if name.endswith("gamma"):
        return 0.5 + 0.2 * normal
    if name.endswith("bias"):
        return 0.2 * gain * normal
    if name.endswith("norm_1.weight"):  # of a neck: the map that everything reads
        return _QUIET * (1.0 + 0.25 * normal)
    if name.endswith("weight") and normal.ndim == 1:  # the scale of a normalisation
        return 1.0 + 0.25 * normal
    if name.endswith("positional_encoding_gaussian_matrix"):
        return normal
    if "latents" in name and normal.ndim == 2:
        return 0.1 * normal
    if name.endswith("running_var"):
        return normal.square() + 0.5
    if name.endswith("num_batches_tracked"):
        return torch.ones_like(normal, dtype=torch.int64)
    if _TABLE.search(name) or not name.endswith("weight"):  # embeddings, some bare parameters
        return 2 * _QUIET * normal
    # Transposed convolutions are (inputs, outputs, 2, 2) and do not overlap.
    inputs = normal.shape[0] if "output_upscaling" in name else math.prod(normal.shape[1:])
    return normal * gain / math.sqrt(inputs)
