"""The shape of a SAM 2 network, and the presets: nano and Meta's released models.

Nothing here runs; ``ModelConfig`` describes any network of the family, however small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

# ImageNet's mean and standard deviation of RGB from 0 to 1: the scale that every trunk gets.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
MemoryDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class HieraConfig:
    """Hiera, a four-stage transformer (arXiv 2306.00989) with windows.

    Width and heads double at each stage. ``window_sizes`` holds one window per stage; blocks in
    ``global_attention_blocks`` see the whole grid. ``background_size`` is the grid of the
    learned background position table that is stretched to the image (its window part has the
    size of the first window).
    """

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, int, int, int] = (1, 2, 7, 2)
    global_attention_blocks: tuple[int, ...] = (5, 7, 9)
    window_sizes: tuple[int, int, int, int] = (8, 4, 14, 7)
    background_size: tuple[int, int] = (7, 7)

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide embed_dim {self.embed_dim}, got {self.num_heads}"
            )
        if min(self.stages) < 1 or min(self.window_sizes) < 1:
            raise ValueError(
                f"stages and window_sizes must be at least 1, got {self.stages} "
                f"and {self.window_sizes}"
            )

    @property
    def stage_widths(self) -> tuple[int, int, int, int]:
        """Channels after each stage, finest first."""
        width = self.embed_dim
        return width, 2 * width, 4 * width, 8 * width

    @property
    def depth(self) -> int:
        """Blocks of all stages."""
        return sum(self.stages)


@dataclass(frozen=True, slots=True)
class VitConfig:
    """A plain vision transformer with windows (arXiv 2203.16527): all blocks at stride 16.

    Blocks in ``global_attention_blocks`` see the whole grid, the others windows.
    ``position_side``: the side of the learned position table, which is stretched to the image.
    """

    embed_dim: int = 192
    num_heads: int = 3
    depth: int = 12
    global_attention_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    position_side: int = 14

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide embed_dim {self.embed_dim}, got {self.num_heads}"
            )
        for name in ("depth", "window_size", "position_side"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def stage_widths(self) -> tuple[int]:
        """Channels of its only map, that of stride 16."""
        return (self.embed_dim,)


@dataclass(frozen=True, slots=True)
class ConvolutionStage:
    """``repeats`` blocks of one width; the first has the stride, each widens ``expansion`` fold."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


@dataclass(frozen=True, slots=True)
class EfficientNetLiteConfig:
    """EfficientNet-Lite (arXiv 1905.11946) without its last stage, as a trunk."""

    stages: tuple[ConvolutionStage, ...] = (
        ConvolutionStage(1, 3, 1, 1, 16),
        ConvolutionStage(2, 3, 2, 6, 24),
        ConvolutionStage(2, 5, 2, 6, 40),
        ConvolutionStage(3, 3, 2, 6, 80),
        ConvolutionStage(3, 5, 1, 6, 112),
        ConvolutionStage(4, 5, 2, 6, 192),
    )

    def __post_init__(self) -> None:
        strides = [stage.stride for stage in self.stages]
        if strides[:1] != [1] or sorted(set(strides)) != [1, 2] or strides.count(2) != 4:
            raise ValueError(
                f"four stages after the first must have stride 2 and the others 1, got {strides}"
            )

    @property
    def map_ends(self) -> tuple[int, ...]:
        """The stages, counted from 0, whose last blocks give the maps at strides 4, 8, 16, 32."""
        opens = [index for index, stage in enumerate(self.stages) if stage.stride == 2]
        return (*(index - 1 for index in opens[1:]), len(self.stages) - 1)

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the maps at strides 4, 8, 16 and 32."""
        return tuple(self.stages[end].width for end in self.map_ends)


@dataclass(frozen=True, slots=True)
class RepVitConfig:
    """RepViT (arXiv 2307.09283), a convolutional trunk: width and blocks of each stage."""

    stage_widths: tuple[int, int, int, int] = (48, 96, 192, 384)
    stage_depths: tuple[int, int, int, int] = (2, 2, 14, 2)


TrunkConfig = HieraConfig | VitConfig | EfficientNetLiteConfig | RepVitConfig


@dataclass(frozen=True, slots=True)
class PerceiverConfig:
    """A spatial memory in few tokens (arXiv 2501.07256), as many at every image size.

    ``latents`` tokens for the whole map, and one for each window of a ``grid_side``² grid.
    """

    latents: int = 256
    grid_side: int = 16

    @property
    def tokens(self) -> int:
        """Tokens of one spatial memory."""
        return self.latents + self.grid_side**2


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that determines a network's parameters and the arithmetic around them.

    Defaults are those of Meta's SAM 2.1. ``generation`` "2.0" leaves out the parameters that
    the first release lacks (``no_obj_embed_spatial``, ``obj_ptr_tpos_proj``).
    ``memory_dtype``: the dtype of stored memories, not of their computation. ``perceiver``: what
    makes tokens of a spatial memory; without it, every cell of its grid is a token.
    """

    name: str = "custom"
    generation: Literal["2.0", "2.1"] = "2.1"
    image_size: int = 1024
    trunk: TrunkConfig = field(default_factory=HieraConfig)
    perceiver: PerceiverConfig | None = None
    hidden_dim: int = 256
    memory_dim: int = 64
    memory_attention_layers: int = 4
    memory_attention_feed_forward: int = 2048
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_feed_forward: int = 2048
    iou_head_hidden: int = 256
    mask_prompt_channels: int = 16
    num_maskmem: int = 7
    max_object_pointers: int = 16
    max_conditioning_memories: int = 4
    memory_dtype: MemoryDtype = "bfloat16"

    def __post_init__(self) -> None:
        if self.image_size % self.image_size_step:
            raise ValueError(
                f"image_size must be a multiple of {self.image_size_step}, got {self.image_size}"
            )
        if self.hidden_dim % self.memory_dim:
            raise ValueError(
                f"hidden_dim must be a multiple of memory_dim {self.memory_dim}, "
                f"got {self.hidden_dim}"
            )
        if self.hidden_dim % 8:
            raise ValueError(f"hidden_dim must be a multiple of 8, got {self.hidden_dim}")
        if self.memory_dim % 4:
            raise ValueError(f"memory_dim must be a multiple of 4, got {self.memory_dim}")
        if self.hidden_dim // 2 % self.decoder_heads:
            raise ValueError(
                f"decoder_heads must divide half of hidden_dim {self.hidden_dim}, "
                f"got {self.decoder_heads}"
            )
        for name, least in (
            ("num_maskmem", 2),
            ("max_object_pointers", 2),
            ("max_conditioning_memories", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def image_size_step(self) -> int:
        """Image sizes are multiples of this: each window of a perceiver is whole tokens."""
        return 32 if self.perceiver is None else math.lcm(32, 16 * self.perceiver.grid_side)

    @property
    def has_fine_maps(self) -> bool:
        """Whether the mask decoder gets maps at strides 8 and 4 beside that of stride 16."""
        return len(self.trunk.stage_widths) > 1

    @property
    def memory_tokens(self) -> int:
        """Tokens of one spatial memory."""
        return self.grid_size**2 if self.perceiver is None else self.perceiver.tokens

    @property
    def grid_size(self) -> int:
        """Side of the stride-16 token grid."""
        return self.image_size // 16

    @property
    def low_resolution_size(self) -> int:
        """Side of the decoder's masks, stride 4."""
        return self.image_size // 4

    @property
    def recent_memories(self) -> int:
        """Spatial memories of unprompted frames (the window of the paper: 6)."""
        return self.num_maskmem - 1

    @property
    def recent_pointers(self) -> int:
        """Object pointers of unprompted frames (15)."""
        return self.max_object_pointers - 1

    @property
    def pointer_tokens(self) -> int:
        """Memory tokens that one object pointer is split into (4)."""
        return self.hidden_dim // self.memory_dim

    def replaced(self, **changes: object) -> ModelConfig:
        """A copy with some fields changed, validated again."""
        return replace(self, **changes)  # type: ignore[arg-type]


_TRUNKS = {
    "tiny": HieraConfig(96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), (7, 7)),
    "small": HieraConfig(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), (7, 7)),
    "base_plus": HieraConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), (14, 14)),
    "large": HieraConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), (7, 7)),
}

_GENERATIONS: dict[str, Literal["2.0", "2.1"]] = {"sam2.1": "2.1", "sam2": "2.0"}

NANO = ModelConfig(
    name="nano",
    image_size=320,
    trunk=EfficientNetLiteConfig(),
    hidden_dim=128,
    memory_dim=64,
    memory_attention_layers=2,
    memory_attention_feed_forward=256,
    decoder_feed_forward=256,
    iou_head_hidden=128,
)

EDGETAM = ModelConfig(
    name="edgetam",
    generation="2.0",
    trunk=RepVitConfig(),
    perceiver=PerceiverConfig(),
    memory_attention_layers=2,
)

_EFFICIENTTAM_TRUNKS = {"ti": VitConfig(), "s": VitConfig(embed_dim=384, num_heads=6)}

PRESETS: dict[str, ModelConfig] = (
    {"nano": NANO}
    | {
        f"{prefix}_hiera_{size}": ModelConfig(
            name=f"{prefix}_hiera_{size}", generation=generation, trunk=trunk
        )
        for prefix, generation in _GENERATIONS.items()
        for size, trunk in _TRUNKS.items()
    }
    | {"edgetam": EDGETAM}
    | {
        f"efficienttam_{size}{suffix}": ModelConfig(
            name=f"efficienttam_{size}{suffix}",
            generation="2.0",
            image_size=image_size,
            trunk=trunk,
        )
        for size, trunk in _EFFICIENTTAM_TRUNKS.items()
        for suffix, image_size in (("", 1024), ("_512x512", 512))
    }
)
