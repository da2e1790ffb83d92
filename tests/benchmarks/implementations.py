"""Our tracker and `transformers`' video model behind one face: a frame in, masks out.

Both get the same weights. `transformers` is driven as its documentation streams: all objects in
one inference session, frames one at a time, nothing patched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from tests.tracker.agreement.reference import _materialise_buffers, transformers_config
from tests.tracker.agreement.scripts import model_with
from tests.tracker.agreement.transformers_names import to_transformers
from tracker import ModelConfig, Prompt, Tracker, TrackerOptions, transforms

Weights = dict[str, torch.Tensor]
ImageArray = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


class Implementation(Protocol):
    """One stream of frames with the objects that were prompted on its first one."""

    name: str

    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        """Track one frame (H, W, 3); ``boxes`` start objects on it."""

    def without_heavy_parts(self) -> Any:
        """Within this, the image encoder and memory attention are skipped.

        Memories are written as always, so that a bank fills in seconds; what is in them does not
        change what a step costs.
        """


class Masklet:
    """Our tracker through its public interface."""

    name = "masklet"

    def __init__(self, config: ModelConfig, weights: Weights, max_objects: int) -> None:
        options = TrackerOptions(max_objects=max_objects, compute_dtype="float32")
        self._model = model_with(config, weights)
        self._tracker = Tracker(self._model, torch.device("cpu"), options)
        self._session = self._tracker.open_session()

    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        prompts = [Prompt(key, box_xyxy=box) for key, box in (boxes or {}).items()]
        self._tracker.step([(self._session, image, prompts)])

    @contextmanager
    def without_heavy_parts(self) -> Iterator[None]:
        last = self._session.last_frame
        assert last is not None, "one whole step comes first"
        features = last.features

        def attend(stride16: Any, memory: Any, image_of_object: Any = None) -> Any:
            return stride16 if image_of_object is None else stride16[image_of_object]

        with (
            mock.patch.object(self._model, "encode_image", return_value=features),
            mock.patch.object(self._model, "attend", attend),
        ):
            yield


class Transformers:
    """`Sam2VideoModel`, streaming."""

    name = "transformers"

    def __init__(self, config: ModelConfig, weights: Weights, max_objects: int) -> None:
        del max_objects  # it has no limit
        self._config = config
        with torch.device("meta"):
            self._model = Sam2VideoModel(transformers_config(config))
        self._model.load_state_dict(to_transformers(weights), strict=True, assign=True)
        _materialise_buffers(self._model)
        self._model.eval()
        self._session = Sam2VideoInferenceSession(dtype=torch.float32)
        self._frames = 0

    @torch.inference_mode()
    def step(self, image: ImageArray, boxes: dict[int, Box] | None = None) -> None:
        # Its processor and its upscaling to the picture are left out of what it takes.
        size = self._config.image_size
        pixels = transforms.images_to_tensor([image], size, torch.device("cpu"))[0]
        height, width = image.shape[:2]
        for object_id, (x0, y0, x1, y1) in (boxes or {}).items():
            corners = torch.tensor([[x0, y0], [x1, y1]]) * torch.tensor(
                [size / width, size / height]
            )
            index = self._session.obj_id_to_idx(object_id)
            inputs = {
                "point_coords": corners[None, None],
                "point_labels": torch.tensor([[[2, 3]]]),
            }
            self._session.add_point_inputs(index, self._frames, inputs)
            self._session.obj_with_new_inputs.append(object_id)
        self._model(self._session, frame=pixels[None], frame_idx=self._frames)
        self._frames += 1

    @contextmanager
    def without_heavy_parts(self) -> Iterator[None]:
        features = self._session.cache.get_vision_features(self._frames - 1)
        assert features is not None, "one whole step comes first"

        def attend(current_vision_features: Any, **_: Any) -> Any:
            return current_vision_features.transpose(0, 1).unsqueeze(1)  # (1, 1, tokens, C)

        def features_of(pixels: Any, **_: Any) -> Any:
            raise AssertionError("the features were cached")

        def cached(frame_index: int) -> Any:
            return features

        with (
            mock.patch.object(self._model.memory_attention, "forward", attend),
            mock.patch.object(self._model, "get_image_features", features_of),
            mock.patch.object(self._session.cache, "get_vision_features", cached),
        ):
            yield


IMPLEMENTATIONS: dict[str, type[Masklet | Transformers]] = {
    "masklet": Masklet,
    "transformers": Transformers,
}
