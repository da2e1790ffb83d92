"""Our tracker, `transformers`' model and Meta's predictor behind one interface.

All load the same weights. `transformers` streams as its documentation shows: all objects of a
stream in one inference session, one frame at a time, nothing patched. Meta's predictor runs as in
its own benchmark, eager or with its own compilation. Both process streams one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from benchmarks import official_predictor
from streamer.config.state_folder import cache_folder
from tests.tracker.agreement.reference import materialise_buffers, transformers_model
from tests.tracker.agreement.scripts import model_with
from tracker import ModelConfig, Prompt, Tracker, TrackerOptions
from tracker.images import transforms
from tracker.model import ImageFeatures
from tracker.model.layers import grid_from_tokens, tokens_from_grid
from tracker.model.memory_attention import FrameState
from tracker.options import EngineOptions
from tracker.weights.transformers_names import to_transformers

Weights = dict[str, Tensor]
ImageArray = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how an implementation computes, and the number of streams.

    ``graphs``: ours replays CUDA graphs and takes parts by OpenVINO; without, calls can be timed
    separately.
    """

    device: str = "cpu"
    dtype: str = "float32"
    streams: int = 1
    graphs: bool = True

    def autocast(self) -> torch.autocast:
        """The context the other implementations run in; ours sets its own."""
        dtype = getattr(torch, self.dtype)
        return torch.autocast(self.device, dtype, enabled=self.dtype != "float32")


class Implementation(Protocol):
    """A tracker of several streams whose objects are prompted on the first frame."""

    name: str

    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        """Track one frame (H, W, 3) of every stream, host to host; ``boxes`` start objects."""

    def prepare(self, image: ImageArray) -> Any:
        """The frame resized, normalised and on the device."""

    def step_prepared(self, prepared: Any) -> None:
        """Track a prepared frame of every stream; masks may stay on the device."""

    def without_heavy_parts(self) -> Any:
        """A context that skips the image encoder and memory attention.

        Memories are still written, so a bank fills in seconds; their content does not affect the
        cost of a step.
        """


class Masklet:
    """Our tracker through its public interface, warmed up as in the daemon.

    Masks always come to the host, packed; a prepared step includes that.
    """

    name = "masklet"

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        max_objects: int,
        setting: Setting | None = None,
    ) -> None:
        setting = setting or Setting()
        options = TrackerOptions(
            max_objects=max_objects * setting.streams,
            compute_dtype=setting.dtype,  # type: ignore[arg-type]
            memory_policy="sam2",
            engine=EngineOptions(
                graphs="auto" if setting.graphs else "off",
                attention="auto" if setting.graphs else "sdpa",
                openvino="auto" if setting.graphs else "off",
                path_cache=str(cache_folder()),
            ),
        )
        self.model = model_with(config, weights)
        self._tracker = Tracker(self.model, torch.device(setting.device), options)
        self._tracker.warm_up()
        self._sessions = [self._tracker.open_session() for _ in range(setting.streams)]

    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        prompts = [Prompt(key, box_xyxy=box) for key, box in (boxes or {}).items()]
        self._tracker.step([(session, image, prompts) for session in self._sessions])

    def prepare(self, image: ImageArray) -> Any:
        return self._tracker.prepare(image)

    def step_prepared(self, prepared: Any) -> None:
        self._tracker.step([(session, prepared, []) for session in self._sessions])

    @contextmanager
    def without_heavy_parts(self) -> Iterator[None]:
        if self._tracker.device.type == "cuda":
            # The stand-ins could be captured in a graph and replayed for good.
            yield
            return
        frames = [session.last_frame for session in self._sessions]
        own = [frame.features for frame in frames if frame is not None and frame.features]
        assert len(own) == len(frames), "one whole step comes first"
        features = type(own[0])(*(torch.cat(levels) for levels in zip(*own, strict=True)))

        side = features.stride16_BCHW.shape[2]

        # Plain functions: a mock keeps its call arguments, 12 MiB per frame at 1024².
        def encoded(pixels: Tensor) -> ImageFeatures:
            return features

        def begin(stride16: Tensor) -> FrameState:
            return FrameState(tokens_from_grid(stride16), tokens_from_grid(stride16))

        def attend(frame: FrameState, memory: Any) -> Tensor:
            return grid_from_tokens(frame[0], side, side)

        with (
            mock.patch.object(self.model, "encode_image", encoded),
            mock.patch.object(self.model, "begin_attention", begin),
            mock.patch.object(self.model, "attend_memory", attend),
        ):
            yield


class MaskletBfloat16(Masklet):
    """Our tracker in bfloat16, whatever the setting's dtype."""

    name = "masklet-bfloat16"

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        max_objects: int,
        setting: Setting | None = None,
    ) -> None:
        rounded = replace(setting or Setting(), dtype="bfloat16")
        super().__init__(config, weights, max_objects, rounded)


class Transformers:
    """`Sam2VideoModel`, streaming; frames are resized by our code, which is faster than its own."""

    name = "transformers"

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        max_objects: int,
        setting: Setting | None = None,
    ) -> None:
        del max_objects  # it has no limit
        self._config = config
        self._setting = setting or Setting()
        self._model = transformers_model(config)
        self._model.load_state_dict(to_transformers(weights), strict=True, assign=True)
        materialise_buffers(self._model)
        self._model.eval().to(self._setting.device)
        self._sessions = [
            Sam2VideoInferenceSession(dtype=torch.float32, inference_device=self._setting.device)
            for _ in range(self._setting.streams)
        ]
        self._frames = 0

    @torch.inference_mode()
    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        height, width = image.shape[:2]
        for session in self._sessions:
            self._begin(session, boxes or {}, height, width)
            logits = self._track(session, self.prepare(image))
            (transforms.resize_logits(logits, height, width) > 0).cpu()
        self._frames += 1

    def prepare(self, image: ImageArray) -> Tensor:
        size, device = self._config.image_size, torch.device(self._setting.device)
        return transforms.images_to_tensor([image], size, device)

    @torch.inference_mode()
    def step_prepared(self, prepared: Tensor) -> None:
        for session in self._sessions:
            self._track(session, prepared)
        self._frames += 1

    def _track(self, session: Any, pixels_13SS: Tensor) -> Tensor:
        with self._setting.autocast():
            output = self._model(session, frame=pixels_13SS, frame_idx=self._frames)
        logits: Tensor = output.pred_masks.float()
        return logits.reshape(-1, 1, *logits.shape[-2:])

    def _begin(self, session: Any, boxes: dict[int, Box], height: int, width: int) -> None:
        size = self._config.image_size
        scale = torch.tensor([size / width, size / height])
        for object_id, (x0, y0, x1, y1) in boxes.items():
            corners = torch.tensor([[x0, y0], [x1, y1]]) * scale
            inputs = {
                "point_coords": corners[None, None].to(self._setting.device),
                "point_labels": torch.tensor([[[2, 3]]], device=self._setting.device),
            }
            index = session.obj_id_to_idx(object_id)
            session.add_point_inputs(index, self._frames, inputs)
            session.obj_with_new_inputs.append(object_id)

    @contextmanager
    def without_heavy_parts(self) -> Iterator[None]:
        features = self._sessions[0].cache.get_vision_features(self._frames - 1)
        assert features is not None, "one whole step comes first"

        def attend(current_vision_features: Any, **_: Any) -> Any:
            return current_vision_features.transpose(0, 1).unsqueeze(1)  # (1, 1, tokens, C)

        def features_of(pixels: Any, **_: Any) -> Any:
            raise AssertionError("the features were cached")

        def cached(frame_index: int) -> Any:
            return features

        with ExitStack() as stack:
            patch = stack.enter_context
            patch(mock.patch.object(self._model.memory_attention, "forward", attend))
            patch(mock.patch.object(self._model, "get_image_features", features_of))
            for session in self._sessions:
                patch(mock.patch.object(session.cache, "get_vision_features", cached))
            yield


class Official:
    """Meta's ``SAM2VideoPredictor``, eager; frames are resized by our code."""

    name = "official"
    compiled = False

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        max_objects: int,
        setting: Setting | None = None,
    ) -> None:
        del max_objects  # it has no limit
        self._config = config
        self._setting = setting or Setting()
        device = torch.device(self._setting.device)
        self._predictor = official_predictor.build(config, weights, device, self.compiled)
        self._streams: list[official_predictor.OfficialStream] = []

    @torch.inference_mode()
    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        if not self._streams:
            self._streams = [
                official_predictor.OfficialStream(self._predictor, *image.shape[:2])
                for _ in range(self._setting.streams)
            ]
        with self._setting.autocast():
            for stream in self._streams:
                (stream.step(self.prepare(image), boxes) > 0).cpu()

    def prepare(self, image: ImageArray) -> Tensor:
        size, device = self._config.image_size, torch.device(self._setting.device)
        return transforms.images_to_tensor([image], size, device)[0]

    @torch.inference_mode()
    def step_prepared(self, prepared: Tensor) -> None:
        with self._setting.autocast():
            for stream in self._streams:
                stream.step(prepared)

    @contextmanager
    def without_heavy_parts(self) -> Iterator[None]:
        if self.compiled:  # compiled code cannot be patched
            yield
            return
        with self._streams[0].without_heavy_parts():
            yield


class OfficialCompiled(Official):
    """Meta's predictor with its ``vos_optimized``: everything compiled with max-autotune."""

    name = "official-compiled"
    compiled = True


IMPLEMENTATIONS: dict[str, type[Masklet | Transformers | Official]] = {
    "masklet": Masklet,
    "masklet-bfloat16": MaskletBfloat16,
    "transformers": Transformers,
    "official": Official,
    "official-compiled": OfficialCompiled,
}
# Ours must run; the others are compared with each of them.
OURS = ("masklet", "masklet-bfloat16")
