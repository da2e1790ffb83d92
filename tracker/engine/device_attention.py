"""Memory attention as a CUDA device computes it: the same layers in fewer and smaller passes.

``tracker.model.memory_attention`` is the definition, and this agrees with it up to rounding. Values
are projected after the attention, in one product with its result; keys go from memories to rotated
keys in one pass; sums and norms share one; nothing but the residual sum and the result is float32.

Dimensions: B images, N objects, L tokens of the grid, F memory frames, M spatial memory tokens, P
pointer tokens, S = M + P keys, C channels, c memory channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.engine.triton_rows import add_norm, memory_keys, rotated
from tracker.memory.places import Recollection
from tracker.model import Sam2
from tracker.model.layers import grid_from_tokens, tokens_from_grid
from tracker.model.memory_attention import FrameState, MemoryAttentionLayer, RotaryAttention


class Projections(NamedTuple):
    """Linear layers around an attention: of its values, of its result, or one for both after it."""

    values: Callable[[Tensor], Tensor]
    result: Callable[[Tensor], Tensor]
    both: Callable[[Tensor], Tensor]


# Attention with its projections. Arguments: these, queries (N, L, C), keys (N, S, C), values before
# their projection, the number of pointer keys (the last), and how many spatial and pointer keys of
# each row are real (N, 2), or None: all. Returns (N, L, C).
Kernel = Callable[[Projections, Tensor, Tensor, Tensor, int, Tensor | None], Tensor]
# By the least number of rows it is for; 1 is always there.
Kernels = dict[int, Kernel]


class Memory(NamedTuple):
    """What all layers read of N objects' memories; codes (float32) are added to keys only."""

    spatial_NMc: Tensor
    age_code_NFc: Tensor
    place_code_Lc: Tensor
    coded_pointer_NPc: Tensor
    value_NSc: Tensor
    real_N2: Tensor | None


class DeviceAttention:
    """``begin_attention`` and ``attend_memory`` of a network.

    ``within``: kernels of self-attention; ``to_memory``: of cross-attention.
    """

    def __init__(self, model: Sam2, within: Kernels, to_memory: Kernels) -> None:
        self.model = model
        self.within, self.to_memory = within, to_memory
        # Parameters do not change any more. Queries and keys of self-attention are one product.
        self._both = [_side_by_side(layer.self_attn) for layer in self._layers()]
        self._within = [projections(layer.self_attn) for layer in self._layers()]
        self._to_memory = [projections(layer.cross_attn_image) for layer in self._layers()]

    def begin(self, stride16_BCHW: Tensor) -> FrameState:
        """The part that depends on frames only."""
        first = self._layers()[0]
        code_1LC = 0.1 * self.model.image_position().flatten(1).T[None]
        x, normed = self._normed(first.norm1, tokens_from_grid(stride16_BCHW), code_1LC)
        x, normed = self._normed(first.norm2, x, self._attended_frame(0, normed))
        return FrameState(x, self._query(first.cross_attn_image, normed))

    def attend(self, frame: FrameState, remembered: Recollection) -> Tensor:
        """Condition the frames of N objects on their memories -> (N, C, H, W) float32."""
        layers, memory = self._layers(), self._memory(remembered)
        x, query = frame
        for index, layer in enumerate(layers, 1):
            update = self._attended_memory(index - 1, query, memory)
            x, normed = self._normed(layer.norm3, x, update)
            update = layer.linear2(layer.linear1.activated(normed, "relu"))
            if index < len(layers):
                x, normed = self._normed(layers[index].norm1, x, update)
                update = self._attended_frame(index, normed)
                x, normed = self._normed(layers[index].norm2, x, update)
                query = self._query(layers[index].cross_attn_image, normed)
        norm = self.model.memory_attention.norm
        _, conditioned = add_norm(x, update, norm.weight, norm.bias, norm.eps, torch.float32)
        side = self.model.config.grid_size
        return grid_from_tokens(conditioned, side, side)

    def _layers(self) -> list[MemoryAttentionLayer]:
        return list(self.model.memory_attention.layers)  # type: ignore[arg-type]

    def _normed(self, norm: nn.LayerNorm, x: Tensor, update: Tensor) -> tuple[Tensor, Tensor]:
        """The sum, and its norm in the dtype of the products that read it."""
        dtype = self._layers()[0].linear1.weight.dtype
        return add_norm(x, update, norm.weight, norm.bias, norm.eps, dtype)

    def _query(self, part: RotaryAttention, normed_NLC: Tensor) -> Tensor:
        query_NL1C = part.q_proj(normed_NLC).unsqueeze(2)
        return rotated(query_NL1C, as_angles(self.model.rotation()))[0]

    def _attended_frame(self, index: int, normed_NLC: Tensor) -> Tensor:
        both_NL2C = F.linear(normed_NLC, *self._both[index]).unflatten(2, (2, -1))
        query_NLC, key_NLC = rotated(both_NL2C, as_angles(self.model.rotation()))
        kernel = kernel_for(self.within, len(normed_NLC))
        return kernel(self._within[index], query_NLC, key_NLC, normed_NLC, 0, None)

    def _attended_memory(self, index: int, query_NLC: Tensor, memory: Memory) -> Tensor:
        part = self._layers()[index].cross_attn_image
        key_NSC = memory_keys(
            memory.spatial_NMc,
            memory.age_code_NFc,
            memory.place_code_Lc,
            memory.coded_pointer_NPc,
            part.k_proj.weight,
            part.k_proj.bias,
            as_angles(self.model.key_rotation()),
        )
        kernel = kernel_for(self.to_memory, len(query_NLC))
        plain_keys = memory.coded_pointer_NPc.shape[1]
        around = self._to_memory[index]
        return kernel(around, query_NLC, key_NSC, memory.value_NSc, plain_keys, memory.real_N2)

    def _memory(self, remembered: Recollection) -> Memory:
        model, parts = self.model, self.model.config.pointer_tokens
        spatial_NFLc, age_NF, pointer_NPC, pointer_age_NP, *valid = remembered
        spatial_NMc = spatial_NFLc.flatten(1, 2)
        pointer_NPc = pointer_NPC.unflatten(2, (parts, -1)).flatten(1, 2)
        pointer_code = model.pointer_time_code(pointer_age_NP).repeat_interleave(parts, dim=1)
        dtype = self._layers()[0].linear1.weight.dtype
        return Memory(
            spatial_NMc,
            model.maskmem_tpos_enc[:, 0, 0][age_NF],
            model.memory_position().contiguous(),
            pointer_NPc + pointer_code,
            torch.cat((spatial_NMc.to(dtype), pointer_NPc.to(dtype)), dim=1),
            _real(age_NF, pointer_age_NP, spatial_NFLc.shape[2], parts, *valid),
        )


def kernel_for(kernels: Kernels, rows: int) -> Kernel:
    """The kernel measured for the greatest count up to ``rows``."""
    return kernels[max(count for count in kernels if count <= rows)]


def as_angles(rotation_Lp: Tensor) -> Tensor:
    """Complex rotations as cosine and sine of each channel pair, (L, C) float32."""
    return torch.view_as_real(rotation_Lp).flatten(1)


def projections(part: RotaryAttention) -> Projections:
    """Those of a part whose parameters do not change any more."""
    values, result = part.v_proj, part.out_proj
    exact = result.weight.float()
    weight = (exact @ values.weight.float()).to(result.weight.dtype)
    bias = (exact @ values.bias.float() + result.bias.float()).to(result.bias.dtype)
    return Projections(values, result, partial(F.linear, weight=weight, bias=bias))


def _side_by_side(part: RotaryAttention) -> tuple[Tensor, Tensor]:
    """Weight and bias of the projections of queries and of keys."""
    parts = part.q_proj, part.k_proj
    return torch.cat([each.weight for each in parts]), torch.cat([each.bias for each in parts])


def _real(
    age_NF: Tensor,
    pointer_age_NP: Tensor,
    tokens: int,
    parts: int,
    frame_valid_NF: Tensor | None,
    pointer_valid_NP: Tensor | None,
) -> Tensor | None:
    """How many spatial and pointer tokens of each row are real, int32 (N, 2); None: all."""
    if frame_valid_NF is None and pointer_valid_NP is None:
        return None
    if frame_valid_NF is None:
        frame_valid_NF = torch.ones_like(age_NF, dtype=torch.bool)
    if pointer_valid_NP is None:
        pointer_valid_NP = torch.ones_like(pointer_age_NP, dtype=torch.bool)
    counts = frame_valid_NF.sum(1) * tokens, pointer_valid_NP.sum(1) * parts
    return torch.stack(counts, dim=1).int()
