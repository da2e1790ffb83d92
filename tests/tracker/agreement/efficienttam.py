"""EfficientTAM as a stream by `transformers`: its SAM 2 behind its ViTDet and a neck written here.

`transformers` has no EfficientTAM. Of its SAM 2 everything behind the image encoder is used; maps
at strides 8 and 4 are zeros there, which is the same as none.

Dimensions: C channels, H W token grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import VitDetBackbone, VitDetConfig

from tests.tracker.agreement.reference import Reference
from tests.tracker.agreement.scripts import SMALL, shapes_of
from tracker.config import ModelConfig, VitConfig

_ENCODER, _TRUNK, _LEVEL = "image_encoder.", "image_encoder.trunk.", "image_encoder.neck.convs.0."
_NAMES = {
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.projection",
    "blocks": "encoder.layer",
    ".attn.": ".attention.",
    "layers.0": "fc1",
    "layers.1": "fc2",
}


class EfficientTamReference(Reference):
    """The stream of ``Reference`` with another image encoder."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], **options: Any) -> None:
        behind = config.replaced(trunk=SMALL.trunk)
        zero = (_ENCODER, "sam_mask_decoder.conv_s")
        parts = {
            name: torch.zeros(shape) if name.startswith(zero) else weights[name]
            for name, shape in shapes_of(behind).items()
        }
        super().__init__(behind, parts, **options)
        self._trunk = vit(config.trunk, weights)
        self._level = {
            name.removeprefix(_LEVEL): value
            for name, value in weights.items()
            if name.startswith(_LEVEL)
        }

    @torch.inference_mode()
    def encode(self, pixels_1CHW: Tensor) -> dict[str, Any]:
        """What `transformers` caches of a frame."""
        features = super().encode(pixels_1CHW)
        x = F.conv2d(self._trunk(pixels_1CHW).feature_maps[-1], self._level["conv_1x1.weight"])
        x = F.conv2d(self._norm("norm_0", x), self._level["conv_3x3.weight"], padding=1)
        x = self._norm("norm_1", x)
        *fine, _ = features["vision_feats"]
        assert not any(level.any() for level in fine)
        return features | {"vision_feats": [*fine, x.flatten(2).permute(2, 0, 1)]}

    def _norm(self, name: str, x_1CHW: Tensor) -> Tensor:
        deviation = x_1CHW - x_1CHW.mean(1, keepdim=True)
        scaled = deviation / (deviation.square().mean(1, keepdim=True) + 1e-6).sqrt()
        weight, bias = (self._level[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return scaled * weight + bias


def vit(config: Any, weights: Mapping[str, Tensor]) -> VitDetBackbone:
    """The trunk in `transformers`, with weights under the names of EfficientTAM's files."""
    assert isinstance(config, VitConfig)
    windows = set(range(config.depth)) - set(config.global_attention_blocks)
    trunk = VitDetBackbone(
        VitDetConfig(
            hidden_size=config.embed_dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.num_heads,
            pretrain_image_size=16 * config.position_side,
            window_block_indices=sorted(windows),
            window_size=config.window_size,
        )
    )
    renamed = {}
    for name, value in weights.items():
        if name.startswith(_TRUNK):
            own = name.removeprefix(_TRUNK)
            for ours, theirs in _NAMES.items():
                own = own.replace(ours, theirs)
            renamed[own] = value
    trunk.load_state_dict(renamed, strict=True)
    return trunk.eval()
