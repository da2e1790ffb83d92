"""`transformers`' ``Sam2VideoModel`` and ``EdgeTamVideoModel`` as a stream: the judge of ours.

Where it departs from Meta's predictor, which our tracker follows, it is corrected here; each
correction says which departure it removes:

1. mask prompt: it takes the pointer from the best of three masks; Meta from the single-mask
   token (``_single_mask_pointer``).
2. mask prompt: it remembers the exact mask; Meta the mask that went through the low-resolution
   logits (``_low_resolution_mask_output``).
3. clicks on one object binarise the memories of all objects on that frame, and
6. a second call that adds objects loses the first, none can be removed: every object gets an
   inference session of its own here, they only share the image features.
4. clicks on a frame that already has a mask are not given its logits (``_with_previous_logits``).
5. a correction of a tracked frame never makes it a conditioning frame; Meta has a switch
   (``corrections_condition``).
7. images are resized differently: it is given the pixels that our tracker made.
8. it keeps every conditioning frame; ours keeps the first and the newest up to
   ``max_conditioning_memories`` (``_forget``).

SAM 2 is also stored there with memories as bfloat16, whose noise would hide mistakes
(``_float32_memories``); EdgeTAM is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import EdgeTamVideoConfig, EdgeTamVideoModel, Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from tracker import Prompt
from tracker.config import HieraConfig, ModelConfig, RepVitConfig
from tracker.weights.transformers_names import to_transformers

OBJECT = 0  # the index of the only object in each inference session
PREVIOUS_LOGITS_LIMIT = 32.0


@dataclass(frozen=True, slots=True)
class ObjectOutput:
    """One object on one frame: logits (h, w) at stride 4, pointer (C,), both float32."""

    logits: torch.Tensor
    predicted_iou: float
    object_score_logit: float
    pointer: torch.Tensor


def transformers_model(config: ModelConfig) -> torch.nn.Module:
    """The same network in `transformers`, without storage."""
    described = transformers_config(config)
    with torch.device("meta"):
        if isinstance(described, EdgeTamVideoConfig):
            return EdgeTamVideoModel(described)
        return Sam2VideoModel(described)


def transformers_config(config: ModelConfig) -> Sam2VideoConfig | EdgeTamVideoConfig:
    """The same network described in the words of `transformers`."""
    return _sam2_config(config) if config.perceiver is None else _edgetam_config(config)


def _sam2_config(config: ModelConfig) -> Sam2VideoConfig:
    trunk = config.trunk
    assert isinstance(trunk, HieraConfig)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": trunk.embed_dim,
        "num_attention_heads": trunk.num_heads,
        "image_size": [config.image_size, config.image_size],
        "window_positional_embedding_background_size": list(trunk.background_size),
        "blocks_per_stage": list(trunk.stages),
        "embed_dim_per_stage": list(trunk.stage_widths),
        "num_attention_heads_per_stage": [trunk.num_heads * 2**i for i in range(4)],
        "window_size_per_stage": list(trunk.window_sizes),
        "global_attention_blocks": list(trunk.global_attention_blocks),
    }
    return Sam2VideoConfig(
        vision_config=_vision(config, "sam2_vision_model", backbone),
        memory_attention_feed_forward_hidden_size=config.memory_attention_feed_forward,
        **_common(config),
    )


def _edgetam_config(config: ModelConfig) -> EdgeTamVideoConfig:
    trunk, perceiver = config.trunk, config.perceiver
    assert isinstance(trunk, RepVitConfig)
    assert perceiver is not None
    backbone = {
        "model_type": "timm_wrapper",
        "architecture": "repvit_m1",
        "num_classes": 2,  # it insists on some
        "model_args": {
            "features_only": True,
            "out_indices": [0, 1, 2, 3],
            "embed_dim": trunk.stage_widths,
            "depth": trunk.stage_depths,
        },
    }
    return EdgeTamVideoConfig(
        vision_config=_vision(config, "edgetam_vision_model", backbone),
        memory_attention_mlp_hidden_size=config.memory_attention_feed_forward,
        memory_attention_rope_k_sizes=[perceiver.grid_side, perceiver.grid_side],
        perceiver_resampler_num_latents=perceiver.latents,
        perceiver_resampler_num_latents_2d=perceiver.grid_side**2,
        **_common(config),
    )


def _vision(config: ModelConfig, kind: str, backbone: dict[str, Any]) -> dict[str, Any]:
    return {
        "backbone_config": backbone,
        "model_type": kind,
        "backbone_channel_list": list(config.trunk.stage_widths)[::-1],
        "backbone_feature_sizes": [[config.grid_size * s] * 2 for s in (4, 2, 1)],
        "fpn_hidden_size": config.hidden_dim,
    }


def _common(config: ModelConfig) -> dict[str, Any]:
    """What both networks have."""
    if config.memory_dim != 64:
        raise ValueError(f"transformers fixes memory_dim at 64, got {config.memory_dim}")
    has_occlusion_parameters = config.generation == "2.1"
    return {
        "prompt_encoder_config": {
            "hidden_size": config.hidden_dim,
            "image_size": config.image_size,
            "mask_input_channels": config.mask_prompt_channels,
        },
        "mask_decoder_config": {
            "hidden_size": config.hidden_dim,
            "mlp_dim": config.decoder_feed_forward,
            "num_hidden_layers": config.decoder_depth,
            "num_attention_heads": config.decoder_heads,
            "iou_head_hidden_dim": config.iou_head_hidden,
        },
        "image_size": config.image_size,
        "num_maskmem": config.num_maskmem,
        "max_object_pointers_in_encoder": config.max_object_pointers,
        "enable_occlusion_spatial_embedding": has_occlusion_parameters,
        "enable_temporal_pos_encoding_for_object_pointers": has_occlusion_parameters,
        "memory_attention_hidden_size": config.hidden_dim,
        "memory_attention_num_layers": config.memory_attention_layers,
        "memory_attention_rope_feat_sizes": [config.grid_size, config.grid_size],
        "memory_encoder_hidden_size": config.hidden_dim,
        "memory_encoder_output_channels": config.memory_dim,
        "mask_downsampler_embed_dim": config.hidden_dim,
        "memory_fuser_embed_dim": config.hidden_dim,
        "memory_fuser_intermediate_dim": 4 * config.hidden_dim,
    }


class Reference:
    """A stream of frames with any number of objects, one result per object and frame.

    ``weights`` carry Meta's names; each must find its place. Prompts are in pixels of a source
    frame of ``source_size`` (height, width).
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: dict[str, torch.Tensor],
        *,
        corrections_condition: bool = False,
        float32_memories: bool = True,
    ) -> None:
        self.config = config
        self.corrections_condition = corrections_condition
        self.model = transformers_model(config)
        self.model.load_state_dict(to_transformers(weights), strict=True, assign=True)
        materialise_buffers(self.model)
        self.model.eval()
        self._patch(float32_memories and config.perceiver is None)
        self.restart()

    def restart(self) -> None:
        """Forget every object and frame; the network stays."""
        self._sessions: dict[int, Sam2VideoInferenceSession] = {}
        self._frame_index = -1
        self._pixels_1CHW = torch.empty(0)
        self._source_size = (0, 0)
        self._iou_scores = torch.empty(0)

    def step(
        self,
        pixels_1CHW: torch.Tensor,
        source_size: tuple[int, int],
        prompts: Sequence[Prompt] = (),
    ) -> dict[int, ObjectOutput]:
        """Track one more frame."""
        self._frame_index += 1
        self._pixels_1CHW, self._source_size = pixels_1CHW, source_size
        self._features = self.encode(pixels_1CHW)
        prompted = {prompt.object_id: prompt for prompt in prompts}
        for object_id in prompted:
            self._begin(object_id)
        return {
            object_id: self._run(object_id, prompted.get(object_id)) for object_id in self._sessions
        }

    @torch.inference_mode()
    def encode(self, pixels_1CHW: torch.Tensor) -> dict[str, Any]:
        """What `transformers` caches of a frame."""
        features = self.model.get_image_features(pixels_1CHW)
        return {
            "vision_feats": features.fpn_hidden_states,
            "vision_pos_embeds": features.fpn_position_encoding,
        }

    def correct(self, prompts: Sequence[Prompt]) -> dict[int, ObjectOutput]:
        """Apply prompts to the frame just tracked; gives the prompted objects."""
        corrected = {}
        for prompt in prompts:
            self._begin(prompt.object_id)
            outputs = self._sessions[prompt.object_id].output_dict_per_obj[OBJECT]
            was_tracked = self._was_tracked(prompt.object_id)
            if was_tracked and self._frame_index in outputs["cond_frame_outputs"]:
                # Corrected before: it must not attend to its own memory.
                _move(outputs, self._frame_index, "cond_frame_outputs", "non_cond_frame_outputs")
            corrected[prompt.object_id] = self._run(prompt.object_id, prompt)
            if was_tracked and self.corrections_condition:
                _move(outputs, self._frame_index, "non_cond_frame_outputs", "cond_frame_outputs")
                self._forget(outputs)
        return corrected

    def remove(self, object_id: int) -> None:
        """Forget one object."""
        del self._sessions[object_id]

    def _begin(self, object_id: int) -> None:
        if object_id not in self._sessions:
            self._sessions[object_id] = Sam2VideoInferenceSession(dtype=torch.float32)
            self._sessions[object_id].obj_id_to_idx(object_id)

    def _was_tracked(self, object_id: int) -> bool:
        return self._frame_index in self._sessions[object_id].frames_tracked_per_obj[OBJECT]

    def _run(self, object_id: int, prompt: Prompt | None) -> ObjectOutput:
        session = self._sessions[object_id]
        if prompt is not None:
            self._add(session, prompt)
        session.cache.cache_vision_features(self._frame_index, self._features)
        session.processed_frames = None  # it would keep every frame
        output = self.model(session, frame=self._pixels_1CHW, frame_idx=self._frame_index)
        stored = session.output_dict_per_obj[OBJECT]
        self._forget(stored)
        frame = stored["cond_frame_outputs"].get(self._frame_index)
        if frame is None:
            frame = stored["non_cond_frame_outputs"][self._frame_index]
        return ObjectOutput(
            logits=output.pred_masks[0, 0].clone(),
            predicted_iou=float(self._iou_scores.max()),
            object_score_logit=float(output.object_score_logits),
            pointer=frame["object_pointer"].flatten().clone(),
        )

    def _forget(self, outputs: dict[str, dict[int, Any]]) -> None:
        kept = outputs["cond_frame_outputs"]
        while len(kept) > self.config.max_conditioning_memories:
            del kept[sorted(kept)[1]]

    def _add(self, session: Sam2VideoInferenceSession, prompt: Prompt) -> None:
        if prompt.mask is not None:
            mask_11HW = _mask_at_model_size(prompt.mask, self.config.image_size)
            session.add_mask_inputs(OBJECT, self._frame_index, mask_11HW)
            session.remove_point_inputs(OBJECT, self._frame_index)
        else:
            points_11K2, labels_11K = self._points(prompt)
            earlier = session.point_inputs_per_obj[OBJECT].get(self._frame_index)
            if earlier is not None and not prompt.replace_points:
                points_11K2 = torch.cat([earlier["point_coords"], points_11K2], dim=2)
                labels_11K = torch.cat([earlier["point_labels"], labels_11K], dim=2)
            inputs = {"point_coords": points_11K2, "point_labels": labels_11K}
            session.add_point_inputs(OBJECT, self._frame_index, inputs)
            session.remove_mask_inputs(OBJECT, self._frame_index)
        session.obj_with_new_inputs = [prompt.object_id]

    def _points(self, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """A box counts as two points with labels of their own, before the clicks."""
        points, labels = list(prompt.points_xy), list(prompt.point_labels)
        if prompt.box_xyxy is not None:
            x0, y0, x1, y1 = prompt.box_xyxy
            points, labels = [(x0, y0), (x1, y1), *points], [2, 3, *labels]
        height, width = self._source_size
        scale = torch.tensor([self.config.image_size / width, self.config.image_size / height])
        return (torch.tensor(points) * scale)[None, None], torch.tensor(labels)[None, None]

    def _patch(self, float32_memories: bool) -> None:
        model: Any = self.model
        if float32_memories:
            model._encode_new_memory = _float32_memories(model, model._encode_new_memory)
        model._single_frame_forward = _single_mask_pointer(
            model._single_frame_forward, self._remember_iou
        )
        model._use_mask_as_output = _low_resolution_mask_output(
            model, model._use_mask_as_output, self._remember_iou
        )
        model._run_single_frame_inference = _with_previous_logits(model._run_single_frame_inference)

    def _remember_iou(self, iou_scores: torch.Tensor) -> None:
        self._iou_scores = iou_scores


def materialise_buffers(model: Any) -> None:
    """Fill the buffers that are computed, not loaded, and so are still without storage."""
    attention = model.memory_attention
    rotary = attention.rotary_emb
    inverse_frequencies, _ = rotary.compute_axial_rope_parameters(rotary.config)
    rotary.inv_freq = inverse_frequencies
    rotary.original_inv_freq = inverse_frequencies.clone()
    attention.position_ids = attention.precompute_positions(attention.config)
    if isinstance(model, EdgeTamVideoModel):
        attention.position_ids_k = attention.precompute_positions(attention.config, is_key=True)
    empty = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if empty:
        raise ValueError(f"buffers left without storage: {empty}")


def _mask_at_model_size(mask: Any, image_size: int) -> torch.Tensor:
    mask_11HW = torch.as_tensor(mask, dtype=torch.float32)[None, None]
    if mask_11HW.shape[-2:] == (image_size, image_size):
        return mask_11HW
    size = (image_size, image_size)
    resized = F.interpolate(mask_11HW, size, mode="bilinear", align_corners=False, antialias=True)
    return (resized >= 0.5).float()


def _move(outputs: dict[str, dict[int, Any]], frame_index: int, source: str, target: str) -> None:
    outputs[target][frame_index] = outputs[source].pop(frame_index)


def _float32_memories(model: Any, encode: Callable[..., Any]) -> Callable[..., Any]:
    """The memory encoder's own output, which the occlusion embedding is added to in place."""
    encoded: list[torch.Tensor] = []
    model.memory_encoder.register_forward_hook(
        lambda _module, _inputs, output: encoded.append(output[0])
    )

    def encode_new_memory(*arguments: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        encoded.clear()
        rounded, positions = encode(*arguments, **options)
        exact = encoded[0].flatten(2).permute(2, 0, 1)
        if not torch.equal(exact.to(torch.bfloat16), rounded):
            raise AssertionError("transformers no longer adds the occlusion embedding in place")
        return exact, positions

    return encode_new_memory


def _single_mask_pointer(
    forward: Callable[..., Any], remember_iou: Callable[[torch.Tensor], None]
) -> Callable[..., Any]:
    def single_frame_forward(**inputs: Any) -> Any:
        # Only the mask prompt leaves the choice to the default.
        inputs.setdefault("multimask_output", False)
        output = forward(**inputs)
        remember_iou(output.iou_scores)
        return output

    return single_frame_forward


def _low_resolution_mask_output(
    model: Any, use_mask: Callable[..., Any], remember_iou: Callable[[torch.Tensor], None]
) -> Callable[..., Any]:
    def use_mask_as_output(*arguments: Any, **options: Any) -> Any:
        output = use_mask(*arguments, **options)
        size = (model.image_size, model.image_size)
        output.high_res_masks = F.interpolate(
            output.pred_masks, size, mode="bilinear", align_corners=False
        )
        remember_iou(output.iou_scores)
        return output

    return use_mask_as_output


def _with_previous_logits(run: Callable[..., Any]) -> Callable[..., Any]:
    def run_single_frame_inference(**inputs: Any) -> Any:
        outputs = inputs["inference_session"].output_dict_per_obj[inputs["obj_idx"]]
        frame_index = inputs["frame_idx"]
        previous = outputs["cond_frame_outputs"].get(frame_index)
        if previous is None:
            previous = outputs["non_cond_frame_outputs"].get(frame_index)
        if previous is not None and inputs["point_inputs"] is not None:
            limit = PREVIOUS_LOGITS_LIMIT
            inputs["prev_sam_mask_logits"] = previous["pred_masks"].clamp(-limit, limit)
        return run(**inputs)

    return run_single_frame_inference
