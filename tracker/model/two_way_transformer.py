"""The mask decoder's transformer: tokens attend to the image, and the image to the tokens.

Dimensions: N objects, T tokens, L image tokens, C channels. (arXiv 2304.02643, appendix A)
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tracker.model.layers import Mlp, attend, join_heads, split_heads
from tracker.model.onednn_linear import Linear


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its outer one."""

    def __init__(self, width: int, inner_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, inner_width)
        self.k_proj = Linear(width, inner_width)
        self.v_proj = Linear(width, inner_width)
        self.out_proj = Linear(inner_width, width)

    def forward(self, query_NTC: Tensor, key_NLC: Tensor, value_NLC: Tensor) -> Tensor:
        """(N, T, C), (N, L, C), (N, L, C) -> (N, T, C)."""
        return self.attended(self.queries(query_NTC), *self.keys(key_NLC, value_NLC))

    def queries(self, query_NTC: Tensor) -> Tensor:
        """Projected queries, (N, heads, T, c)."""
        return split_heads(self.q_proj(query_NTC), self.heads)

    def keys(self, key_NLC: Tensor, value_NLC: Tensor) -> tuple[Tensor, Tensor]:
        """Projected keys and values, (N, heads, L, c) each."""
        key_NhLc = split_heads(self.k_proj(key_NLC), self.heads)
        return key_NhLc, split_heads(self.v_proj(value_NLC), self.heads)

    def attended(self, query_NhTc: Tensor, key_NhLc: Tensor, value_NhLc: Tensor) -> Tensor:
        """The rest of ``forward``, from projected queries, keys and values."""
        out: Tensor = self.out_proj(join_heads(attend(query_NhTc, key_NhLc, value_NhLc)))
        return out


class ImageProjections(NamedTuple):
    """Projections of the image that a block attends to and from, (N, heads, L, c) each."""

    key_NhLc: Tensor
    value_NhLc: Tensor
    query_NhLc: Tensor


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, width: int, heads: int, feed_forward: int, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(width, width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, width // 2, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp((width, feed_forward, width), nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, width // 2, heads)

    def project(self, image_NLC: Tensor, image_code_1LC: Tensor) -> ImageProjections:
        """What ``forward`` needs of an image; objects on the same image share it."""
        coded = image_NLC + image_code_1LC
        return ImageProjections(
            *self.cross_attn_token_to_image.keys(coded, image_NLC),
            self.cross_attn_image_to_token.queries(coded),
        )

    def forward(
        self,
        tokens_NTC: Tensor,
        token_code_NTC: Tensor,
        image_NLC: Tensor,
        projected: ImageProjections,
    ) -> tuple[Tensor, Tensor]:
        """Tokens, their position code, and the image -> tokens and image, updated."""
        if self.is_first:
            # Content equals code here, so the first self-attention replaces instead of adding.
            tokens = self.self_attn(tokens_NTC, tokens_NTC, tokens_NTC)
        else:
            coded = tokens_NTC + token_code_NTC
            tokens = tokens_NTC + self.self_attn(coded, coded, tokens_NTC)
        tokens = self.norm1(tokens)

        to_image = self.cross_attn_token_to_image
        tokens = tokens + to_image.attended(
            to_image.queries(tokens + token_code_NTC), projected.key_NhLc, projected.value_NhLc
        )
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))

        to_tokens = self.cross_attn_image_to_token
        image = image_NLC + to_tokens.attended(
            projected.query_NhLc, *to_tokens.keys(tokens + token_code_NTC, tokens)
        )
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    """``depth`` two-way blocks and a final attention of the tokens to the image."""

    def __init__(self, depth: int, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, heads, feed_forward, is_first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(width, width // 2, heads)
        self.norm_final_attn = nn.LayerNorm(width)

    def project(self, image_NLC: Tensor, image_code_1LC: Tensor) -> ImageProjections:
        """The projections of the first block: they depend on the image only."""
        return self._block(0).project(image_NLC, image_code_1LC)

    def forward(
        self,
        image_NLC: Tensor,
        image_code_1LC: Tensor,
        token_NTC: Tensor,
        projected: ImageProjections | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Image tokens, their code, and prompt tokens (their own code) -> (tokens, image).

        ``projected``: the result of ``project`` for this image, if it is known.
        """
        tokens, image = token_NTC, image_NLC
        for index in range(len(self.layers)):
            block = self._block(index)
            if projected is None or index > 0:
                projected = block.project(image, image_code_1LC)
            tokens, image = block(tokens, token_NTC, image, projected)
        attended = self.final_attn_token_to_image(tokens + token_NTC, image + image_code_1LC, image)
        return self.norm_final_attn(tokens + attended), image

    def _block(self, index: int) -> TwoWayBlock:
        block = self.layers[index]
        assert isinstance(block, TwoWayBlock)
        return block
