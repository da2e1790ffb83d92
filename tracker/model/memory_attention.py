"""Features of the frame look at the memory bank (SAM 2, arXiv 2408.00714, section 4).

Dimensions: B images, N objects, L tokens of the grid, F memory frames, M = F*L spatial memory
tokens, P pointer tokens, C channels, c memory channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tracker.config import ModelConfig
from tracker.model.chunking import in_chunks
from tracker.model.layers import attend
from tracker.model.narrow_values import attend_narrow, narrow_is_faster
from tracker.model.onednn_linear import Linear
from tracker.model.position_encoding import rotate, rotate_first

# Queries, keys, values as narrow as the memory, how many of the last keys are pointers', and which
# are real or None; real ones come first among the spatial keys as among the pointers'.
NarrowAttention = Callable[[Tensor, Tensor, Tensor, int, Tensor | None], Tensor]


class MemoryTokens(NamedTuple):
    """What N objects remember.

    ``spatial_NMc`` and its code; whole frames of L tokens one after the other.
    ``pointer_NPc`` and its code; P may be 0. ``valid_NS`` (S = M + P, bool) marks real tokens
    where objects remember differently much; None when all are real.
    """

    spatial_NMc: Tensor
    spatial_code_NMc: Tensor
    pointer_NPc: Tensor
    pointer_code_NPc: Tensor
    valid_NS: Tensor | None = None


class FrameState(NamedTuple):
    """How far frames come before anything is remembered: the same for every object on them.

    ``token_BLC`` after the first self-attention, and ``query_BLC``, what they ask of the memory
    in the first cross-attention.
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
        # Set by who measured it on a device (``engine.attention_choice``).
        self.narrow: NarrowAttention | None = None

    def query(self, x_NLC: Tensor, rotation: Tensor) -> Tensor:
        """Projected and turned queries, (N, L, C)."""
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
        """Attend with turned queries; the last ``plain_keys`` keys are not turned. -> (N, L, C)."""
        key = rotate_first(self.k_proj(key_NSc), key_NSc.shape[1] - plain_keys, rotation)
        if self.narrow is not None and value_NSc.shape[2] < key.shape[2]:
            attended = self.v_proj(self.narrow(query, key, value_NSc, plain_keys, valid_NS))
        elif narrow_is_faster(key, value_NSc, valid_NS):
            attended = self.v_proj(attend_narrow(query, key, value_NSc))
        else:
            mask = None if valid_NS is None else valid_NS[:, None, None, :]
            attended = attend(
                query.unsqueeze(1), key.unsqueeze(1), self.v_proj(value_NSc).unsqueeze(1), mask
            ).squeeze(1)
        out: Tensor = self.out_proj(attended)
        return out


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
        """The self-attention half, which knows no object."""
        normed = self.norm1(x_BLC)
        query = self.self_attn.query(normed, rotation)
        out: Tensor = x_BLC + self.self_attn(query, normed, normed, rotation)
        return out

    def memory_query(self, x_NLC: Tensor, rotation: Tensor) -> Tensor:
        """What the tokens ask of the memory, (N, L, C)."""
        return self.cross_attn_image.query(self.norm2(x_NLC), rotation)

    def attend_to_memory(
        self,
        x_NLC: Tensor,
        query_NLC: Tensor,
        key_NSc: Tensor,
        value_NSc: Tensor,
        rotation: Tensor,
        plain_keys: int,
        valid_NS: Tensor | None,
    ) -> Tensor:
        """Cross-attention and feed-forward. Positions are in the keys, never in the values."""
        x = x_NLC + self.cross_attn_image(
            query_NLC, key_NSc, value_NSc, rotation, plain_keys, valid_NS
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
        """What depends on the frames alone: it runs once per frame, not once per object."""
        first = self.layers[0]
        assert isinstance(first, MemoryAttentionLayer)
        token_BLC = first.attend_to_frame(frame_BLC, rotation)
        return FrameState(token_BLC, first.memory_query(token_BLC, rotation))

    def forward(self, frame: FrameState, memory: MemoryTokens, rotation: Tensor) -> Tensor:
        """Condition N objects' own frames on their memories -> (N, L, C)."""
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
                x, query, key_NSc, value_NSc, rotation, plain_keys, memory.valid_NS
            )
        out: Tensor = self.norm(x)
        return out
