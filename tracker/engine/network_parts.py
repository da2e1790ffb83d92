"""The parts of a network, each by PyTorch or by OpenVINO, whichever measured faster at the start.

Dimensions: B images, N objects, C channels, c memory channels, H W token grid, L tokens
of a spatial memory, S image size.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tracker.engine import openvino_parts
from tracker.engine.kept_choices import KeptChoices
from tracker.engine.openvino_parts import Function, OpenVinoParts, Part
from tracker.engine.path_choice import PathChoice, measure
from tracker.images.transforms import normalised
from tracker.memory.places import Recollection
from tracker.memory.shapes import MemoryShape, MemoryShapes
from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.model.memory_attention import FrameState
from tracker.model.memory_encoder import scaled_mask
from tracker.options import EngineOptions
from tracker.weights.checkpoint import fingerprint

_log = logging.getLogger(__name__)


class NetworkParts:
    """Functions of tensors only, as parts of the engine's calls.

    ``model`` is the network for the image size in use. ``paths`` is how a processor computes; None
    before ``choose_paths``, and on other devices.
    """

    def __init__(
        self, model: Sam2, options: EngineOptions, shapes: MemoryShapes, device: torch.device
    ) -> None:
        """``model``: for the largest image size, the only one for which OpenVINO computes."""
        self.model = self._largest = model
        self._options = options
        self._shapes = shapes
        self._device = device
        self._kept = None if options.path_cache is None else KeptChoices(options.path_cache)
        self.paths: PathChoice | None = None
        self._by_openvino: dict[str, Function] = {}
        # PyTorch's threads outside ``one_thread``; None outside of it.
        self._threads: int | None = None

    def encode(self, pixels_B3SS: Tensor) -> tuple[Tensor, ...]:
        """Normalise and encode images, uint8 -> ``ImageFeatures``.

        By OpenVINO also what memory attention and memories begin with, which depends on images
        only.
        """
        return self._part("encode_image", self._encode)(pixels_B3SS)

    def attend(self, frame: FrameState, memories: Recollection, shape: MemoryShape) -> Tensor:
        """Condition objects' images on their memories, which have this shape -> (N, C, H, W)."""
        full = shape == self._shapes.steady[0]
        attend = self._part("attend_memory" if full else None, self._attend)
        (conditioned,) = attend(*frame, *(each for each in memories if each is not None))
        return conditioned

    def decode_unprompted(self, conditioned_NCHW: Tensor, features: ImageFeatures) -> DecoderOutput:
        """Masks of N objects that got no prompt; ``features`` holds the objects' own images."""
        decode = self._part("decode", self._decode_unprompted)
        return DecoderOutput(
            *decode(conditioned_NCHW, features.stride8_BcHW, features.stride4_BcHW)
        )

    def finish_memory(
        self, projected_NCHW: Tensor, logits_N1hw: Tensor, prompted_N: Tensor, visible_N: Tensor
    ) -> Tensor:
        """Spatial memories (N, L, c), see ``Engine.finish_memory``."""
        finish = self._part("finish_memory", self._finish_memory)
        (spatial_NLc,) = finish(projected_NCHW, logits_N1hw, prompted_N, visible_N)
        return spatial_NLc

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Let PyTorch compute by one thread, where OpenVINO does most; other parts take them all.

        PyTorch's other threads wait busily for milliseconds after each operation, on the cores that
        OpenVINO's threads need: a step of nano took 118 ms of processor time instead of 74.
        """
        if not self._by_openvino or self._threads is not None:
            yield
            return
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self._threads)
            self._threads = None

    def choose_paths(self) -> None:
        """Find or measure the paths of this processor, once for all image sizes."""
        if self.paths is not None:
            return
        config = self._largest.config
        kept = None if self._kept is None else self._kept.find(config)
        choice = measure(config) if kept is None else kept
        if (openvino := self._openvino()) is not None:
            parts = self._examples()
            if choice.openvino is None:
                choice = choice.with_parts(openvino.measure(parts))
            self._by_openvino = openvino.load(parts, choice.openvino or ())
        if choice is not kept and self._kept is not None:
            self._kept.keep(config, choice)
        self.paths = choice.by_pytorch() if openvino is None else choice
        when = "" if kept is None else " at an earlier start"
        for path, reason in self.paths.reasons().items():
            _log.info("%s; measured%s: %s", path, when, reason)

    def _part(self, name: str | None, function: Function) -> Function:
        if self.model is self._largest and name in self._by_openvino:
            return self._by_openvino[name]
        return function if self._threads is None else partial(self._on_all_threads, function)

    def _on_all_threads(self, function: Function, *tensors: Tensor) -> tuple[Tensor, ...]:
        assert self._threads is not None
        torch.set_num_threads(self._threads)
        try:
            return function(*tensors)
        finally:
            torch.set_num_threads(1)

    # The parts by PyTorch, which are what OpenVINO takes.

    def _encode(self, pixels_B3SS: Tensor) -> ImageFeatures:
        dtype = self.model.image_encoder.dtype
        return self.model.encode_image(normalised(pixels_B3SS, dtype))

    def _encode_and_begin(self, pixels_B3SS: Tensor) -> tuple[Tensor, ...]:
        features = self._encode(pixels_B3SS)
        stride16 = features.stride16_BCHW
        return (*features, *self.model.begin_attention(stride16), self.model.begin_memory(stride16))

    def _attend(self, token: Tensor, query: Tensor, *memories: Tensor) -> tuple[Tensor]:
        tokens = self.model.memory_tokens(*memories)
        return (self.model.attend_memory(FrameState(token, query), tokens),)

    def _decode_unprompted(
        self, conditioned_NCHW: Tensor, stride8_NcHW: Tensor, stride4_NcHW: Tensor
    ) -> DecoderOutput:
        prompt = self.model.no_prompt(conditioned_NCHW.shape[0], self._device)
        features = ImageFeatures(conditioned_NCHW, stride8_NcHW, stride4_NcHW)
        return self.model.decode(conditioned_NCHW, features, prompt)

    def _finish_memory(
        self, projected_NCHW: Tensor, logits_N1hw: Tensor, prompted_N: Tensor, visible_N: Tensor
    ) -> tuple[Tensor]:
        mask_N1SS = scaled_mask(logits_N1hw, prompted_N, self.model.config.image_size)
        return (self.model.finish_memory(projected_NCHW, mask_N1SS, visible_N),)

    def _openvino(self) -> OpenVinoParts | None:
        """Where OpenVINO may help: it is installed, there is a folder, and the network is small."""
        folder, config = self._options.path_cache, self._largest.config
        fixed = self._options.fixes_shapes(self._device.type)
        if self._options.openvino == "off" or folder is None or fixed:
            return None
        if openvino_parts.version() is None or not openvino_parts.can_gain(self._largest):
            return None
        if not config.has_fine_maps:
            return None  # OpenVINO converts no maps without channels
        identity = f"{fingerprint(self._largest)} {config.image_size}"
        return OpenVinoParts(Path(folder), self._largest, identity)

    def _examples(self) -> dict[str, Part]:
        """The parts that OpenVINO may take, with examples: grey noise."""
        config, shape = self._largest.config, self._shapes.steady[0]
        side = config.image_size
        noise = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (1, 3, side, side), generator=noise, dtype=torch.uint8)
        features = self._encode(pixels)
        conditioned = self._largest.attend(features.stride16_BCHW, None)
        levels = features.stride8_BcHW, features.stride4_BcHW
        spatial = torch.randn(
            1, shape.frames, config.memory_tokens, config.memory_dim, generator=noise
        )
        memories = (
            spatial,
            torch.arange(shape.frames)[None],
            torch.randn(1, shape.pointers, config.hidden_dim, generator=noise),
            torch.arange(shape.pointers)[None],
        )
        begun = self._largest.begin_attention(features.stride16_BCHW)
        projected = self._largest.begin_memory(features.stride16_BCHW)
        logits = torch.randn(1, 1, side // 4, side // 4, generator=noise)
        no, yes = torch.zeros(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
        return {
            # Two at once gain 2 % and take 68 MB.
            "encode_image": Part(self._encode_and_begin, (pixels,), at_once=1),
            "attend_memory": Part(self._attend, (*begun, *memories)),
            "decode": Part(self._decode_unprompted, (conditioned, *levels)),
            "finish_memory": Part(self._finish_memory, (projected, logits, no, yes)),
        }
