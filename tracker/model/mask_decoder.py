"""The mask decoder: conditioned features and a prompt to four masks, their IoUs, an object score.

Dimensions: N objects, C channels, H W token grid, h w mask grid (4 × H), M = 4 masks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tracker.config import ModelConfig
from tracker.model.chunking import join, objects_in_chunks, rows_per_chunk
from tracker.model.layers import LayerNorm2d, Mlp, tokens_from_grid
from tracker.model.prompt_encoder import PromptEmbedding
from tracker.model.two_way_transformer import ImageProjections, TwoWayTransformer

MASKS = 4


class DecoderOutput(NamedTuple):
    """Raw output, before a mask is chosen.

    ``mask_logits_N4hw``: mask 0 is for unambiguous prompts, masks 1..3 are alternatives for
    ambiguous ones. ``predicted_iou_N4`` in 0..1. ``mask_tokens_N4C``. ``object_score_logit_N1``:
    positive if the object is visible.
    """

    mask_logits_N4hw: Tensor
    predicted_iou_N4: Tensor
    mask_tokens_N4C: Tensor
    object_score_logit_N1: Tensor


class MaskDecoder(nn.Module):
    """SAM's mask decoder with SAM 2's high-resolution features and object score token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden = config.hidden_dim, config.iou_head_hidden
        self.transformer = TwoWayTransformer(
            config.decoder_depth, width, config.decoder_heads, config.decoder_feed_forward
        )
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.obj_score_token = nn.Embedding(1, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        if config.has_fine_maps:
            self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
            self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp((width, width, width, width // 8), nn.ReLU) for _ in range(MASKS)
        )
        self.iou_prediction_head = Mlp((width, hidden, hidden, MASKS), nn.ReLU, sigmoid_output=True)
        self.pred_obj_score_head = Mlp((width, width, width, 1), nn.ReLU)
        self._has_fine_maps = config.has_fine_maps

    def fine_projections(self) -> tuple[nn.Conv2d, ...]:
        """What the image encoder applies to the trunk's maps at strides 8 and 4, if it has any."""
        return (self.conv_s1, self.conv_s0) if self._has_fine_maps else ()

    def forward(
        self,
        conditioned_NCHW: Tensor,
        stride8_NcHW: Tensor,
        stride4_NcHW: Tensor,
        prompt: PromptEmbedding,
        position_CHW: Tensor,
    ) -> DecoderOutput:
        """Decode N objects; the high-resolution features are already projected."""
        return DecoderOutput(
            *objects_in_chunks(
                partial(self._decode, tokens_from_grid(position_CHW.unsqueeze(0))),
                2 * conditioned_NCHW[0].numel(),  # the widest map, that of the masks
                conditioned_NCHW,
                stride8_NcHW,
                stride4_NcHW,
                *prompt,
            )
        )

    def search(
        self,
        conditioned_1CHW: Tensor,
        stride8_1cHW: Tensor,
        stride4_1cHW: Tensor,
        prompt: PromptEmbedding,
        position_CHW: Tensor,
        wanted: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, DecoderOutput]:
        """Decode N prompts on one image, and draw masks only of those that are ``wanted``.

        ``wanted`` gets the predicted IoU (n, 4) of some of them and marks the rows to draw, (n)
        boolean. Returns the indices of these rows and their output. What depends on the image only
        is computed once. The prompts share one dense embedding: they contain no masks.
        """
        position_1LC = tokens_from_grid(position_CHW.unsqueeze(0))
        image_1LC = tokens_from_grid(conditioned_1CHW + prompt.dense_NCHW[:1])
        projected = self.transformer.project(image_1LC, position_1LC)
        size = conditioned_1CHW.shape[2:]
        rows, drawn = [], []
        widest = 2 * conditioned_1CHW.numel()
        step = min(len(prompt.sparse_NKC), rows_per_chunk(conditioned_1CHW, widest))
        for begin in range(0, len(prompt.sparse_NKC), step):
            sparse_nKC = prompt.sparse_NKC[begin : begin + step]
            shared = (part.expand(len(sparse_nKC), -1, -1, -1) for part in projected)
            tokens_nTC, image_nLC = self._attend(
                image_1LC.expand(len(sparse_nKC), -1, -1),
                position_1LC,
                sparse_nKC,
                ImageProjections(*shared),
            )
            (row_r,) = wanted(self._predicted_iou(tokens_nTC[:, 1])).nonzero(as_tuple=True)
            rows.append(row_r + begin)
            drawn.append(
                self._draw(tokens_nTC[row_r], image_nLC[row_r], size, stride8_1cHW, stride4_1cHW)
            )
        return torch.cat(rows), DecoderOutput(*(join(part) for part in zip(*drawn, strict=True)))

    def _decode(
        self,
        position_1LC: Tensor,
        conditioned_NCHW: Tensor,
        stride8_NcHW: Tensor,
        stride4_NcHW: Tensor,
        sparse_NKC: Tensor,
        dense_NCHW: Tensor,
    ) -> DecoderOutput:
        tokens_NTC, image_NLC = self._attend(
            tokens_from_grid(conditioned_NCHW + dense_NCHW), position_1LC, sparse_NKC
        )
        size = conditioned_NCHW.shape[2:]
        return self._draw(tokens_NTC, image_NLC, size, stride8_NcHW, stride4_NcHW)

    def _attend(
        self,
        image_NLC: Tensor,
        position_1LC: Tensor,
        sparse_NKC: Tensor,
        projected: ImageProjections | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The tokens, own ones first, and the image after they attended to each other."""
        own_tokens = torch.cat(
            (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        )
        token_NTC = torch.cat((own_tokens.expand(len(sparse_NKC), -1, -1), sparse_NKC), dim=1)
        attended: tuple[Tensor, Tensor] = self.transformer(
            image_NLC, position_1LC, token_NTC, projected
        )
        return attended

    def _draw(
        self,
        tokens_NTC: Tensor,
        image_NLC: Tensor,
        size: tuple[int, ...],
        stride8_NcHW: Tensor,
        stride4_NcHW: Tensor,
    ) -> DecoderOutput:
        score_token, iou_token = tokens_NTC[:, 0], tokens_NTC[:, 1]
        mask_tokens = tokens_NTC[:, 2 : 2 + MASKS]
        image = image_NLC.transpose(1, 2).unflatten(2, size)
        upscale8, norm8, activation, upscale4, _ = self.output_upscaling
        image = activation(norm8(_plus(upscale8(image), stride8_NcHW)))
        # In the layout of the product below: GELU's gradient is slow if the layouts differ.
        image = activation(_plus(upscale4(image), stride4_NcHW).contiguous())
        weights_N4c = torch.stack(
            [mlp(mask_tokens[:, m]) for m, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (weights_N4c @ image.flatten(2)).unflatten(2, image.shape[2:])
        return DecoderOutput(
            masks,
            self._predicted_iou(iou_token),
            mask_tokens,
            self.pred_obj_score_head(score_token),
        )

    def _predicted_iou(self, token_NC: Tensor) -> Tensor:
        """In float32: bfloat16 has steps of 0.004 near 0.9, and equal masks would tie."""
        if not torch.is_autocast_enabled(token_NC.device.type):
            return self.iou_prediction_head(token_NC)  # type: ignore[no-any-return]
        with torch.autocast(token_NC.device.type, enabled=False):
            return self.iou_prediction_head(token_NC.float())  # type: ignore[no-any-return]


def _plus(x_NcHW: Tensor, fine_NcHW: Tensor) -> Tensor:
    """With the trunk's map of this stride, unless that is empty."""
    return x_NcHW + fine_NcHW if fine_NcHW.shape[1] else x_NcHW
