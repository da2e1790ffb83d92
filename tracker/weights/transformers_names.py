"""Meta's parameter names and those of `transformers`' SAM 2 (of video, of pictures) and EdgeTAM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import torch

_POINT_EMBEDDINGS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d)\.weight")
# Called differently in ``EdgeTamVideoModel`` only.
_MEMORY_MLP = re.compile(r"(?<=memory_attention\.layers\.\d\.)(linear1|linear2)")
_MEMORY_MLP_PARTS = {"linear1": "mlp.up_proj", "linear2": "mlp.down_proj"}
_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POINTS = range(4)  # negative, positive, and two corners
_POINT_TABLE = "prompt_encoder.point_embed.weight"
_GAUSSIAN_COPIES = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)

# Applied in order to every name. The first group puts the parts of the network in their place,
# the second names the pieces inside.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    # trunk
    (r"backbone\.body\.", "backbone.timm_model."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"(backbone\.blocks\.\d+\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"(backbone\.blocks\.\d+\.mlp)\.layers\.1\.", r"\1.proj_out."),
    # memory encoder: convolution, norm, GELU four times, then a projection
    *(
        (rf"mask_downsampler\.encoder\.{3 * i + j}\.", rf"mask_downsampler.layers.{i}.{piece}.")
        for i in range(4)
        for j, piece in enumerate(("conv", "layer_norm"))
    ),
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.final_conv."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"(memory_fuser\.layers\.\d)\.gamma$", r"\1.scale"),
    (r"(memory_fuser\.layers\.\d)\.dwconv\.", r"\1.depthwise_conv."),
    (r"(memory_fuser\.layers\.\d)\.pwconv(\d)\.", r"\1.pointwise_conv\2."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    # prompt encoder
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    # mask decoder
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"(transformer\.layers\.\d\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"(transformer\.layers\.\d\.mlp)\.layers\.1\.", r"\1.proj_out."),
    (r"norm_final_attn\.", "layer_norm_final_attn."),
    # perceptrons of three layers
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head"
        r"|object_pointer_proj)\.layers\.0\.",
        r"\1.proj_in.",
    ),
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head"
        r"|object_pointer_proj)\.layers\.2\.",
        r"\1.proj_out.",
    ),
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head"
        r"|object_pointer_proj)\.layers\.1\.",
        r"\1.layers.0.",
    ),
    # spatial perceiver
    (r"^(spatial_perceiver)\.latents$", r"\1.latents_1d"),
    (r"^(spatial_perceiver\.layers\.\d)\.attn\.norm_x\.", r"\1.layer_norm_input."),
    (r"^(spatial_perceiver\.layers\.\d)\.attn\.norm_latents\.", r"\1.layer_norm_latents."),
    (r"^(spatial_perceiver\.layers\.\d)\.attn\.to_(q|k|v)\.", r"\1.cross_attention.\2_proj."),
    (r"^(spatial_perceiver\.layers\.\d)\.attn\.to_out\.", r"\1.cross_attention.o_proj."),
    (r"^(spatial_perceiver\.layers\.\d)\.self_attn\.norm\.", r"\1.layer_norm_self."),
    (r"^(spatial_perceiver\.layers\.\d)\.self_attn\.to_(q|k|v)\.", r"\1.self_attention.\2_proj."),
    (r"^(spatial_perceiver\.layers\.\d)\.self_attn\.to_out\.", r"\1.self_attention.o_proj."),
    (r"^(spatial_perceiver\.layers\.\d)\.(self_|)ff\.0\.", r"\1.\2mlp.layer_norm."),
    (r"^(spatial_perceiver\.layers\.\d)\.(self_|)ff\.1\.", r"\1.\2mlp.up_proj."),
    (r"^(spatial_perceiver\.layers\.\d)\.(self_|)ff\.3\.", r"\1.\2mlp.down_proj."),
    # attention and norms, everywhere
    (r"(attn\w*)\.out_proj\.", r"\1.o_proj."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
)


def transformers_name(name: str) -> str:
    """The name in `transformers` of one of Meta's parameters that has a single counterpart."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def to_transformers(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict for ``Sam2VideoModel`` or ``EdgeTamVideoModel``.

    Three parameters are not one to one: the four point embeddings are rows of one table, the
    random Fourier matrix is kept twice, and the perceiver's keys and values are projected apart.
    """
    converted: dict[str, torch.Tensor] = {}
    point_rows: dict[int, torch.Tensor] = {}
    edgetam = "spatial_perceiver.latents" in weights
    for name, value in _with_keys_and_values_apart(weights):
        if edgetam:
            name = _MEMORY_MLP.sub(lambda found: _MEMORY_MLP_PARTS[found[1]], name)
        if match := _POINT_EMBEDDINGS.fullmatch(name):
            point_rows[int(match[1])] = value
        elif name == _GAUSSIAN:
            converted |= dict.fromkeys(_GAUSSIAN_COPIES, value)
        else:
            new_name = transformers_name(name)
            if new_name in converted:
                raise ValueError(f"two parameters would become {new_name}")
            converted[new_name] = value
    converted[_POINT_TABLE] = torch.cat([point_rows[index] for index in _POINTS])
    return converted


def are_transformers_names(names: Iterable[str]) -> bool:
    """Whether a file's tensors are named as `transformers` names them."""
    return any(name.startswith("vision_encoder.") for name in names)


def from_transformers(
    weights: Mapping[str, torch.Tensor], wanted: Iterable[str]
) -> dict[str, torch.Tensor]:
    """The same tensors under Meta's names, ``wanted`` as far as they are there.

    A tensor that is not wanted keeps its name, so that a strict load reports it. Raises ValueError
    if two copies of one parameter differ.
    """
    left = dict(weights)
    copies = [left.pop(name) for name in _GAUSSIAN_COPIES if name in left]
    if any(not torch.equal(copies[0], other) for other in copies[1:]):
        raise ValueError(f"{' and '.join(_GAUSSIAN_COPIES)} differ")
    table = left.get(_POINT_TABLE)
    rows = () if table is None or len(table) != len(_POINTS) else left.pop(_POINT_TABLE).split(1)
    converted: dict[str, torch.Tensor] = {}
    for name in wanted:
        if match := _POINT_EMBEDDINGS.fullmatch(name):
            if rows:
                converted[name] = rows[int(match[1])].clone()  # no file holds views of one tensor
        elif name == _GAUSSIAN:
            if copies:
                converted[name] = copies[0]
        elif (other_name := transformers_name(name)) in left:
            converted[name] = left.pop(other_name)
    return converted | left


def _with_keys_and_values_apart(
    weights: Mapping[str, torch.Tensor],
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in weights.items():
        if ".to_kv." in name:
            for part, half in zip(("to_k", "to_v"), value.chunk(2), strict=True):
                yield name.replace("to_kv", part), half
        else:
            yield name, value
