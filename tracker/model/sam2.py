"""SAM 2 (arXiv 2408.00714) put together. Read this file first.

One frame of one object: image -> ``encode_image`` -> ``attend`` to its memories -> ``decode`` with
the prompt, if any -> masks, and from these ``object_pointer`` and ``encode_memory``, the memories
for later frames. ``tracker.tracker`` calls these in that order for all objects of all streams at
once; nothing here keeps past frames.

Dimensions: B images, N objects, K points, C hidden width, c memory width, S image size,
H W = S / 16 token grid, h w = S / 4 mask grid, L tokens of a spatial memory. Attributes have the
names of Meta's files, so that an official ``state_dict`` loads unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import ModelConfig
from tracker.model.image_encoder import ImageEncoder
from tracker.model.layers import Mlp, grid_from_tokens, tokens_from_grid
from tracker.model.mask_decoder import DecoderOutput, MaskDecoder
from tracker.model.memory_attention import FrameState, MemoryAttention, MemoryTokens
from tracker.model.memory_encoder import MemoryEncoder
from tracker.model.onednn_linear import Linear
from tracker.model.position_encoding import axial_rotations, sine_grid, sine_time
from tracker.model.prompt_encoder import PADDING, PromptEmbedding, PromptEncoder
from tracker.model.spatial_perceiver import SpatialPerceiver


class ImageFeatures(NamedTuple):
    """One batch of encoded images.

    ``stride16_BCHW`` (S / 16), and for the decoder ``stride8_BcHW`` (S / 8, C / 4 channels) and
    ``stride4_BcHW`` (S / 4, C / 8 channels), already projected; both (B, 0, 1, 1) for a trunk that
    has no such maps.
    """

    stride16_BCHW: Tensor
    stride8_BcHW: Tensor
    stride4_BcHW: Tensor

    def select(self, image_of_object_N: Tensor) -> ImageFeatures:
        """The given images' rows, one per object; for a single image, views instead of copies."""
        if self.stride16_BCHW.shape[0] == 1:
            count = image_of_object_N.shape[0]
            return ImageFeatures(*(features.expand(count, -1, -1, -1) for features in self))
        return ImageFeatures(*(features[image_of_object_N] for features in self))


class Sam2(nn.Module):
    """The network. All methods work on batches and keep no state between calls."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, memory_width = config.hidden_dim, config.memory_dim
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(config.num_maskmem, 1, 1, memory_width))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, width))
        # In Meta's files, unused by the released models.
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, width))
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, width))
        if config.generation == "2.1":
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, memory_width))
            self.obj_ptr_tpos_proj = Linear(width, memory_width)
        self.image_encoder = ImageEncoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        if config.perceiver is not None:
            self.spatial_perceiver = SpatialPerceiver(config.perceiver, memory_width)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.obj_ptr_proj = Mlp((width, width, width, width), nn.ReLU)
        self._tables: dict[tuple[str, torch.device], Tensor] = {}
        self._no_prompt: PromptEmbedding | None = None
        self._trained_grid = config.grid_size
        self._spacing = 1.0

    def resize(self, image_size: int) -> None:
        """Switch to another image size than trained; no parameter depends on it.

        Tables that are learned or normalised are stretched to the grid, and the angles of RoPE span
        those of the trained one. Memories and masks of the two sizes do not mix.
        """
        self.config = self.config.replaced(image_size=image_size)
        self._spacing = self._trained_grid / self.config.grid_size
        self.sam_prompt_encoder.resize(image_size, self.config.grid_size)
        self.image_encoder.trunk.forget_constants()
        self._tables.clear()
        self._no_prompt = None

    def fix_constants(self) -> None:
        """Cache what depends on parameters only; they must not change afterwards.

        Again does nothing: captured graphs read these tensors where they are.
        """
        if self._no_prompt is not None:
            return
        self.image_encoder.trunk.fix_constants(self.config.image_size)
        self.sam_prompt_encoder.fix_position()
        with torch.no_grad():
            self._no_prompt = self.no_prompt(1, self.no_mem_embed.device)

    def encode_image(self, image_B3SS: Tensor) -> ImageFeatures:
        """Encode normalised images, (B, 3, S, S)."""
        fine = self.sam_mask_decoder.fine_projections()
        return ImageFeatures(*self.image_encoder(image_B3SS, *fine))

    def attend(
        self,
        stride16_BCHW: Tensor,
        memory: MemoryTokens | None,
        image_of_object_N: Tensor | None = None,
    ) -> Tensor:
        """Condition frames on the memories of N objects -> (N, C, H, W).

        On an object's first frame ``memory`` is None, and a learned constant takes its place.
        Without ``image_of_object_N`` object n is on image n.
        """
        if memory is None:
            raw = stride16_BCHW if image_of_object_N is None else stride16_BCHW[image_of_object_N]
            return raw + self.no_mem_embed.view(1, -1, 1, 1)
        frame = self.begin_attention(stride16_BCHW)
        if image_of_object_N is not None:
            frame = frame.select(image_of_object_N)
        return self.attend_memory(frame, memory)

    def begin_attention(self, stride16_BCHW: Tensor) -> FrameState:
        """The part of ``attend`` that depends on frames only."""
        frame_BLC = tokens_from_grid(stride16_BCHW) + 0.1 * self.image_position().flatten(1).T
        return self.memory_attention.begin(frame_BLC, self.rotation())

    def attend_memory(self, frame: FrameState, memory: MemoryTokens) -> Tensor:
        """The rest of ``attend``, for the frames of N objects -> (N, C, H, W)."""
        side = self.config.grid_size
        conditioned = self.memory_attention(frame, memory, self.rotation(), self.key_rotation())
        return grid_from_tokens(conditioned, side, side)

    def memory_tokens(
        self,
        spatial_NFLc: Tensor,
        temporal_index_NF: Tensor,
        pointer_NPC: Tensor,
        pointer_age_NP: Tensor,
        frame_valid_NF: Tensor | None = None,
        pointer_valid_NP: Tensor | None = None,
    ) -> MemoryTokens:
        """F spatial memories and P pointers of N objects as tokens with position codes.

        The code of a spatial memory is that of its tokens' places plus a learned code of its age
        (``temporal_index_NF``: 0 for the previous frame, the last for conditioning frames). A
        pointer is split into tokens of the memory's width, which share the code of its age.
        """
        dtype = self.no_mem_embed.dtype
        tokens = spatial_NFLc.shape[2]
        parts = self.config.pointer_tokens
        spatial = spatial_NFLc.to(dtype).flatten(1, 2)
        temporal_NF1c = self.maskmem_tpos_enc[:, 0, 0][temporal_index_NF].unsqueeze(2)
        place_Lc = self.memory_position()
        pointer = pointer_NPC.to(dtype).unflatten(2, (parts, -1)).flatten(1, 2)
        pointer_code = self.pointer_time_code(pointer_age_NP).repeat_interleave(parts, dim=1)
        valid_NS = None
        if frame_valid_NF is not None or pointer_valid_NP is not None:
            if frame_valid_NF is None:
                frame_valid_NF = torch.ones_like(temporal_index_NF, dtype=torch.bool)
            if pointer_valid_NP is None:
                pointer_valid_NP = torch.ones_like(pointer_age_NP, dtype=torch.bool)
            valid_NS = torch.cat(
                (
                    frame_valid_NF.repeat_interleave(tokens, dim=1),
                    pointer_valid_NP.repeat_interleave(parts, dim=1),
                ),
                dim=1,
            )
        return MemoryTokens(
            spatial, (place_Lc + temporal_NF1c).flatten(1, 2), pointer, pointer_code, valid_NS
        )

    def encode_prompts(
        self, points_NK2: Tensor, labels_NK: Tensor, mask_logits_N1hw: Tensor | None = None
    ) -> PromptEmbedding:
        """Embed points (model pixels; labels -1 padding, 0, 1, 2 and 3 box corners) and masks."""
        embedding: PromptEmbedding = self.sam_prompt_encoder(
            points_NK2, labels_NK, mask_logits_N1hw
        )
        return embedding

    def no_prompt(self, count: int, device: torch.device) -> PromptEmbedding:
        """The embedding of N objects without a prompt."""
        if self._no_prompt is None:
            points = torch.zeros(1, 1, 2, device=device, dtype=self.no_mem_embed.dtype)
            labels = torch.full((1, 1), PADDING, device=device)
            sparse, dense = self.encode_prompts(points, labels)
        else:
            sparse, dense = self._no_prompt
        return PromptEmbedding(sparse.expand(count, -1, -1), dense.expand(count, -1, -1, -1))

    def decode(
        self, conditioned_NCHW: Tensor, features: ImageFeatures, prompt: PromptEmbedding
    ) -> DecoderOutput:
        """Masks of N objects; ``features`` has one row per object."""
        output: DecoderOutput = self.sam_mask_decoder(
            conditioned_NCHW,
            features.stride8_BcHW,
            features.stride4_BcHW,
            prompt,
            self.sam_prompt_encoder.dense_position(),
        )
        return output

    def search(
        self,
        features: ImageFeatures,
        prompt: PromptEmbedding,
        wanted: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, DecoderOutput]:
        """``decode`` for many prompts on one conditioned image, drawing only ``wanted`` masks.

        See ``MaskDecoder.search``.
        """
        return self.sam_mask_decoder.search(
            *features, prompt, self.sam_prompt_encoder.dense_position(), wanted
        )

    def object_pointer(self, token_NC: Tensor, visible_N: Tensor) -> Tensor:
        """One vector per object; a learned constant if it is not visible."""
        pointer: Tensor = self.obj_ptr_proj(token_NC)
        return torch.where(visible_N[:, None], pointer, self.no_obj_ptr)

    def encode_memory(
        self,
        stride16_BCHW: Tensor,
        mask_N1SS: Tensor,
        visible_N: Tensor,
        image_of_object_N: Tensor | None = None,
    ) -> Tensor:
        """Spatial memories (N, L, c) from raw features and masks scaled to -10..10."""
        frame = self.begin_memory(stride16_BCHW)
        if image_of_object_N is not None:
            frame = frame[image_of_object_N]
        return self.finish_memory(frame, mask_N1SS, visible_N)

    def begin_memory(self, stride16_BCHW: Tensor) -> Tensor:
        """The part of ``encode_memory`` per frame: projected features (B, C, H, W)."""
        projected: Tensor = self.memory_encoder.pix_feat_proj(stride16_BCHW)
        return projected

    def finish_memory(self, projected_NCHW: Tensor, mask_N1SS: Tensor, visible_N: Tensor) -> Tensor:
        """The rest of ``encode_memory``, for the frames of N objects."""
        memory_NcHW: Tensor = self.memory_encoder(projected_NCHW, mask_N1SS)
        if self.config.generation == "2.1":
            absent = memory_NcHW + self.no_obj_embed_spatial.view(1, -1, 1, 1)
            memory_NcHW = torch.where(visible_N[:, None, None, None], memory_NcHW, absent)
        if self.config.perceiver is None:
            return tokens_from_grid(memory_NcHW)
        memory_NLc: Tensor = self.spatial_perceiver(memory_NcHW, self._memory_grid())
        return memory_NLc

    def pointer_time_code(self, age_NP: Tensor) -> Tensor:
        """Temporal code of object pointers by their age in frames: (N, P) -> (N, P, c)."""
        if self.config.generation == "2.0":
            return torch.zeros(
                (*age_NP.shape, self.config.memory_dim),
                device=age_NP.device,
                dtype=self.no_mem_embed.dtype,
            )
        # Divided by the window's length, since a stream has no length.
        code = sine_time(age_NP / self.config.recent_pointers, self.config.hidden_dim)
        projected: Tensor = self.obj_ptr_tpos_proj(code.to(self.no_mem_embed.dtype))
        return projected

    def image_position(self) -> Tensor:
        """Sine code of the token grid, (C, H, W)."""
        return self._sine_table("image", self.config.hidden_dim)

    def memory_position(self) -> Tensor:
        """Sine code of a spatial memory's tokens, (L, c); zero for those without a place."""
        width, perceiver = self.config.memory_dim, self.config.perceiver
        if perceiver is None:
            return self._memory_grid().flatten(1).T
        side = perceiver.grid_side
        return self._table(
            "latents",
            lambda device: F.pad(
                sine_grid(width, side, side, device).flatten(1).T, (0, 0, perceiver.latents, 0)
            ),
        )

    def rotation(self) -> Tensor:
        """The rotations of RoPE on the token grid, complex (H*W, C / 2); real for an export."""
        side, spacing = self.config.grid_size, self._spacing
        return self._rotations(
            "rotation",
            lambda device: axial_rotations(self.config.hidden_dim, side, device, spacing),
        )

    def key_rotation(self) -> Tensor:
        """The rotations of a spatial memory's tokens, complex (L, C / 2); none without a place.

        Those of a perceiver are rotated by their own grid, as it was trained: not by the image's.
        """
        perceiver = self.config.perceiver
        if perceiver is None:
            return self.rotation()
        side = perceiver.grid_side
        return self._rotations(
            "key rotation",
            lambda device: F.pad(
                axial_rotations(self.config.hidden_dim, side, device),
                (0, 0, perceiver.latents, 0),
                value=1,
            ),
        )

    def _rotations(self, name: str, make: Callable[[torch.device], Tensor]) -> Tensor:
        halves_L2 = self._table(name, lambda device: torch.view_as_real(make(device)))
        return halves_L2 if torch.compiler.is_exporting() else torch.view_as_complex(halves_L2)

    def _memory_grid(self) -> Tensor:
        """Sine code of the memory encoder's grid, (c, H, W)."""
        return self._sine_table("memory", self.config.memory_dim)

    def _sine_table(self, name: str, channels: int) -> Tensor:
        side = self.config.grid_size
        return self._table(name, lambda device: sine_grid(channels, side, side, device))

    def _table(self, name: str, make: Callable[[torch.device], Tensor]) -> Tensor:
        # Computed once per device; not a buffer, because it must not appear in the state_dict.
        device = self.no_mem_embed.device
        if (name, device) not in self._tables:
            self._tables[name, device] = make(device)
        return self._tables[name, device]
