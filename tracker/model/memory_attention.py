"""Memory attention: frame features attend to the memory (SAM 2, arXiv 2408.00714, section 4).

Dimensions: B images, N objects, L tokens of the grid, F memory frames, M = F*L spatial memory
tokens, P pointer tokens, C channels, c memory channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tracker.config import ModelConfig
from tracker.model.chunking import in_chunks
from tracker.model.layers import attend
from tracker.model.narrow_values import attend_narrow, narrow_is_faster
from tracker.model.onednn_linear import Linear
from tracker.model.position_encoding import (
    in_halves,
    rotate,
    rotate_exported,
    rotate_first,
    rotate_in_halves,
)


class MemoryTokens(NamedTuple):
    """The memories of N objects as tokens.

    ``spatial_NMc`` and its position code: whole frames of L tokens, one after the other.
    ``pointer_NPc`` and its position code; P may be 0. ``valid_NS`` (S = M + P, bool) marks real
    tokens if the objects' memories differ in length; None if all are real.
    """

    spatial_NMc: Tensor
    spatial_code_NMc: Tensor
    pointer_NPc: Tensor
    pointer_code_NPc: Tensor
    valid_NS: Tensor | None = None


class FrameState(NamedTuple):
    """Frames before they attend to memories: the part shared by all objects on a frame.

    ``token_BLC``: tokens after the first self-attention. ``query_BLC``: their queries in the first
    cross-attention.
    """

    token_BLC: Tensor
    query_BLC: Tensor

    def select(self, image_of_object_N: Tensor) -> FrameState:
        """The rows of the given frames, one for each object."""
        return FrameState(self.token_BLC[image_of_object_N], self.query_BLC[image_of_object_N])


class RotaryAttention(nn.Module):
    """One head with axial RoPE on queries and on spatial keys, none on pointer keys."""

    def __init__(self, width: int, memory_width: int) -> None:
        super().__init__()
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(memory_width, width)
        self.v_proj = Linear(memory_width, width)
        self.out_proj = Linear(width, width)

    def query(self, x_NLC: Tensor, rotation: Tensor) -> Tensor:
        """Projected and rotated queries, (N, L, C)."""
        if torch.compiler.is_exporting():
            return rotate_exported(self.q_proj, x_NLC, rotation)
        return rotate(self.q_proj(x_NLC), rotation)

    def forward(
        self,
        query: Tensor,
        key_NSc: Tensor,
        value_NSc: Tensor,
        rotation: Tensor,
        plain_keys: int = 0,
        valid_NS: Tensor | None = None,
    ) -> Tensor:
        """Attend with rotated queries -> (N, L, C); the last ``plain_keys`` keys stay unrotated."""
        key = self._keys(key_NSc, rotation, plain_keys)
        if torch.compiler.is_exporting():
            query = in_halves(query)  # as its keys are
        if narrow_is_faster(query, key, value_NSc, valid_NS):
            attended = self.v_proj(attend_narrow(query, key, value_NSc))
        else:
            mask = None if valid_NS is None else valid_NS[:, None, None, :]
            attended = attend(
                query.unsqueeze(1), key.unsqueeze(1), self.v_proj(value_NSc).unsqueeze(1), mask
            ).squeeze(1)
        out: Tensor = self.out_proj(attended)
        return out

    def _keys(self, key_NSc: Tensor, rotation: Tensor, plain_keys: int) -> Tensor:
        if torch.compiler.is_exporting():
            return rotate_in_halves(self.k_proj, key_NSc, rotation, plain_keys)
        return rotate_first(self.k_proj(key_NSc), key_NSc.shape[1] - plain_keys, rotation)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to the memory, feed-forward; each behind its norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, feed_forward = config.hidden_dim, config.memory_attention_feed_forward
        self.self_attn = RotaryAttention(width, width)
        self.cross_attn_image = RotaryAttention(width, config.memory_dim)
        self.linear1 = Linear(width, feed_forward)
        self.linear2 = Linear(feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def attend_to_frame(self, x_BLC: Tensor, rotation: Tensor) -> Tensor:
        """Self-attention, independent of objects."""
        normed = self.norm1(x_BLC)
        query = self.self_attn.query(normed, rotation)
        out: Tensor = x_BLC + self.self_attn(query, normed, normed, rotation)
        return out

    def memory_query(self, x_NLC: Tensor, rotation: Tensor) -> Tensor:
        """The tokens' queries to the memory, (N, L, C)."""
        return self.cross_attn_image.query(self.norm2(x_NLC), rotation)

    def attend_to_memory(
        self,
        x_NLC: Tensor,
        query_NLC: Tensor,
        key_NSc: Tensor,
        value_NSc: Tensor,
        key_rotation: Tensor,
        plain_keys: int,
        valid_NS: Tensor | None,
    ) -> Tensor:
        """Cross-attention and feed-forward. Position codes are in the keys only."""
        x = x_NLC + self.cross_attn_image(
            query_NLC, key_NSc, value_NSc, key_rotation, plain_keys, valid_NS
        )
        rows = in_chunks(self._feed_forward, x.flatten(0, 1), self.linear1.out_features)
        return rows.view(x.shape)

    def _feed_forward(self, x_RC: Tensor) -> Tensor:
        out: Tensor = x_RC + self.linear2(self.linear1.activated(self.norm3(x_RC), "relu"))
        return out


class MemoryAttention(nn.Module):
    """The stack of layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config) for _ in range(config.memory_attention_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_dim)

    def begin(self, frame_BLC: Tensor, rotation: Tensor) -> FrameState:
        """The part that depends on frames only; runs once per frame instead of per object."""
        first = self.layers[0]
        assert isinstance(first, MemoryAttentionLayer)
        token_BLC = first.attend_to_frame(frame_BLC, rotation)
        return FrameState(token_BLC, first.memory_query(token_BLC, rotation))

    def forward(
        self, frame: FrameState, memory: MemoryTokens, rotation: Tensor, key_rotation: Tensor
    ) -> Tensor:
        """Condition N objects' own frames on their memories -> (N, L, C).

        ``key_rotation``: of the tokens of one spatial memory; ``rotation``: of the frame's.
        """
        key_NSc = torch.cat(
            (
                memory.spatial_NMc + memory.spatial_code_NMc,
                memory.pointer_NPc + memory.pointer_code_NPc,
            ),
            dim=1,
        )
        value_NSc = torch.cat((memory.spatial_NMc, memory.pointer_NPc), dim=1)
        plain_keys = memory.pointer_NPc.shape[1]
        x, query = frame
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, MemoryAttentionLayer)
            if index > 0:
                x = layer.attend_to_frame(x, rotation)
                query = layer.memory_query(x, rotation)
            x = layer.attend_to_memory(
                x, query, key_NSc, value_NSc, key_rotation, plain_keys, memory.valid_NS
            )
        out: Tensor = self.norm(x)
        return out
