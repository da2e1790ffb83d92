"""The network that a ``config.json`` of `transformers` describes.

Its keys are those of ``Sam2VideoConfig`` and ``Sam2Config``; one that is absent has the value of
the released sam2.1-hiera-tiny, the default there and of ``ModelConfig``. A value that this network
does not implement is refused: the tensors would load, and the masks would be others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tracker.config import PRESETS, HieraConfig, ModelConfig
from tracker.errors import CheckpointError

# Of ``Sam2Model``, which segments pictures and has no memory, and of ``Sam2VideoModel``.
PICTURE_MODEL, VIDEO_MODEL = "sam2", "sam2_video"
_EDGETAM = ("edgetam", "edgetam_video")  # its trunk has the names of timm there, fused otherwise

_Section = dict[str, Any]
# What changes results and not a tensor's shape, at the only value that there is here.
_IMPLEMENTED: _Section = {
    "memory_attention_num_attention_heads": 1,
    "memory_attention_downsample_rate": 1,
    "memory_attention_feed_forward_hidden_act": "relu",
    "memory_fuser_num_layers": 2,
    "memory_fuser_padding": 3,
    "memory_fuser_hidden_act": "gelu",
    "mask_downsampler_stride": 2,
    "mask_downsampler_padding": 1,
    "mask_downsampler_total_stride": 16,
    "mask_downsampler_hidden_act": "gelu",
    "sigmoid_scale_for_mem_enc": 20.0,
    "sigmoid_bias_for_mem_enc": -10.0,
    "multimask_output_in_sam": True,
    "multimask_output_for_tracking": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "rope_parameters": {"rope_type": "axial", "rope_theta": 10_000.0},
    "mask_decoder_config": {
        "attention_downsample_rate": 2,
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
        "hidden_act": "gelu",
    },
    "prompt_encoder_config": {"hidden_act": "gelu", "patch_size": 16, "layer_norm_eps": 1e-6},
    "vision_config": {
        "hidden_act": "gelu",
        "fpn_kernel_size": 1,
        "fpn_top_down_levels": [2, 3],
        "num_feature_levels": 3,
        "layer_norm_eps": 1e-6,
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "mlp_ratio": 4.0,
            "num_query_pool_stages": 3,
            "patch_kernel_size": [7, 7],
            "patch_padding": [3, 3],
            "patch_stride": [4, 4],
            "query_stride": [2, 2],
        },
    },
}


def read_transformers_config(path: Path) -> tuple[ModelConfig, bool]:
    """The network of a ``config.json``, and whether it has a memory (of video).

    One of the released models has its preset's name. Raises CheckpointError if the file cannot be
    read, or describes another network than SAM 2.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        kind = content.get("model_type")
        if kind in _EDGETAM:
            raise CheckpointError(
                f"{path} is EdgeTAM in the layout of transformers, which is not read here; Meta's "
                "own file is: masklet checkpoints pull edgetam, then model=edgetam"
            )
        if kind not in (PICTURE_MODEL, VIDEO_MODEL):
            raise ValueError(f"its model_type is {kind!r}, not {PICTURE_MODEL} or {VIDEO_MODEL}")
        _ensure_implemented(content, _IMPLEMENTED, "")
        config = _model_config(content)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: weights in the layout of transformers need their config.json "
            "beside them"
        ) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{path} describes no SAM 2 that this version knows: {error}") from (
            error
        )
    for preset in PRESETS.values():
        if config == preset.replaced(name=config.name):
            return preset, kind == VIDEO_MODEL
    return config, kind == VIDEO_MODEL


def is_sam2(path: Path) -> bool:
    """Whether a ``config.json`` describes a SAM 2, of whatever size."""
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, TypeError, LookupError):
        return False
    return kind in (PICTURE_MODEL, VIDEO_MODEL)


def _ensure_implemented(section: _Section, implemented: _Section, where: str) -> None:
    for key, value in implemented.items():
        given = section.get(key)
        if isinstance(value, dict):
            _ensure_implemented(given or {}, value, f"{where}{key}.")
        elif given is not None and given != value:
            raise ValueError(f"{where}{key} is {given!r}, here it is {value!r}")


def _model_config(content: _Section) -> ModelConfig:
    vision = content.get("vision_config") or {}
    trunk = _trunk(vision.get("backbone_config") or {})
    prompts = content.get("prompt_encoder_config") or {}
    decoder = content.get("mask_decoder_config") or {}
    ours = ModelConfig()
    codes = (
        content.get("enable_occlusion_spatial_embedding", True),
        content.get("enable_temporal_pos_encoding_for_object_pointers", True),
    )
    if codes[0] != codes[1]:
        raise ValueError("of the two additions of SAM 2.1 it enables one only")
    return ModelConfig(
        generation="2.1" if codes[0] else "2.0",
        image_size=_side(content.get("image_size") or prompts.get("image_size", ours.image_size)),
        trunk=trunk,
        hidden_dim=vision.get("fpn_hidden_size", ours.hidden_dim),
        memory_dim=content.get("memory_encoder_output_channels", ours.memory_dim),
        memory_attention_layers=content.get(
            "memory_attention_num_layers", ours.memory_attention_layers
        ),
        memory_attention_feed_forward=content.get(
            "memory_attention_feed_forward_hidden_size", ours.memory_attention_feed_forward
        ),
        decoder_depth=decoder.get("num_hidden_layers", ours.decoder_depth),
        decoder_heads=decoder.get("num_attention_heads", ours.decoder_heads),
        decoder_feed_forward=decoder.get("mlp_dim", ours.decoder_feed_forward),
        iou_head_hidden=decoder.get("iou_head_hidden_dim", ours.iou_head_hidden),
        mask_prompt_channels=prompts.get("mask_input_channels", ours.mask_prompt_channels),
        num_maskmem=content.get("num_maskmem", ours.num_maskmem),
        max_object_pointers=content.get("max_object_pointers_in_encoder", ours.max_object_pointers),
    )


def _trunk(backbone: _Section) -> HieraConfig:
    ours = HieraConfig()
    trunk = HieraConfig(
        embed_dim=backbone.get("hidden_size", ours.embed_dim),
        num_heads=(backbone.get("num_attention_heads_per_stage") or [ours.num_heads])[0],
        stages=tuple(backbone.get("blocks_per_stage") or ours.stages),
        global_attention_blocks=tuple(
            backbone.get("global_attention_blocks") or ours.global_attention_blocks
        ),
        window_sizes=tuple(backbone.get("window_size_per_stage") or ours.window_sizes),
        background_size=tuple(
            backbone.get("window_positional_embedding_background_size") or ours.background_size
        ),
    )
    heads = backbone.get("num_attention_heads_per_stage")
    if heads and heads != [trunk.num_heads * 2**stage for stage in range(4)]:
        raise ValueError(f"num_attention_heads_per_stage is {heads}, which does not double")
    return trunk


def _side(size: int | list[int]) -> int:
    """The side of a square that may be given as both its sides."""
    sides = size if isinstance(size, list) else [size]
    if len(set(sides)) != 1:
        raise ValueError(f"image_size is {size}, not a square")
    return int(sides[0])
