"""The mask decoder's transformer: tokens attend to the image, and the image to the tokens.

Dimensions: N objects, T tokens, L image tokens, C channels. (arXiv 2304.02643, appendix A)
"""

from __future__ import annotations

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
        attended = attend(
            split_heads(self.q_proj(query_NTC), self.heads),
            split_heads(self.k_proj(key_NLC), self.heads),
            split_heads(self.v_proj(value_NLC), self.heads),
        )
        out: Tensor = self.out_proj(join_heads(attended))
        return out


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

    def forward(
        self, tokens_NTC: Tensor, image_NLC: Tensor, token_code_NTC: Tensor, image_code_1LC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens and image with their position codes -> both, updated."""
        if self.is_first:
            # Content equals code here, so the first self-attention replaces instead of adding.
            tokens = self.self_attn(tokens_NTC, tokens_NTC, tokens_NTC)
        else:
            coded = tokens_NTC + token_code_NTC
            tokens = tokens_NTC + self.self_attn(coded, coded, tokens_NTC)
        tokens = self.norm1(tokens)

        coded_image = image_NLC + image_code_1LC
        tokens = tokens + self.cross_attn_token_to_image(
            tokens + token_code_NTC, coded_image, image_NLC
        )
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))

        image = image_NLC + self.cross_attn_image_to_token(
            coded_image, tokens + token_code_NTC, tokens
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

    def forward(
        self, image_NLC: Tensor, image_code_1LC: Tensor, token_NTC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Image tokens, their code, and prompt tokens (their own code) -> (tokens, image)."""
        tokens, image = token_NTC, image_NLC
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_NTC, image_code_1LC)
        attended = self.final_attn_token_to_image(tokens + token_NTC, image + image_code_1LC, image)
        return self.norm_final_attn(tokens + attended), image
