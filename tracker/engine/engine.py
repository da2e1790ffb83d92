"""The network as a step calls it: in fixed shapes where that is faster, with CUDA graphs on a GPU.

``Engine`` has the methods of ``tracker.model.Sam2`` and gives the same results up to rounding.
Padding rows are copies of a real row; their results are dropped, and no row depends on another.
Prompted rows are rare and vary in their number of points: they run on the plain network.

Dimensions: B images, N objects, C channels, c memory channels, H W token grid, L tokens
of a spatial memory, S image size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tracker.engine.attention_choice import candidates, choose
from tracker.engine.calls import CallCounts, Calls, GraphCalls
from tracker.engine.image_sizes import at_size, sizes_of
from tracker.engine.kept_choices import KeptChoices
from tracker.engine.kernel_cache import keep_kernels
from tracker.engine.padding import chunk_sizes, padded_chunks
from tracker.engine.path_choice import PathChoice, measure
from tracker.host_arrays import on_device
from tracker.images.transforms import normalised
from tracker.memory.bank import MemoryBank
from tracker.memory.places import IntArray, MemoryPlaces, Recollection
from tracker.memory.shapes import MemoryShape, MemoryShapes, groups_of
from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.model.chunking import join, rows_per_chunk
from tracker.model.memory_attention import FrameState
from tracker.model.prompt_encoder import PromptEmbedding
from tracker.options import EngineOptions

_log = logging.getLogger(__name__)


class Engine:
    """Runs a network. Created by the tracker; called from its thread, under its autocast.

    ``model`` is the network for the image size in use; ``image_sizes`` lists all sizes.
    """

    def __init__(
        self,
        model: Sam2,
        options: EngineOptions,
        shapes: MemoryShapes,
        device: torch.device,
    ) -> None:
        self.model = model
        self._options = options
        self._device = device
        if options.kernel_cache is not None:
            keep_kernels(options.kernel_cache, options.kernel_cache_bytes)
        self._fixed = options.fixes_shapes(device.type)
        self._shapes = shapes
        graphs = self._fixed and device.type == "cuda" and options.graphs == "auto"
        self.image_sizes = sizes_of(options, model.config.image_size, model.config.image_size_step)
        self._models = {model.config.image_size: model} | {
            size: at_size(model, size) for size in self.image_sizes[1:]
        }
        most_graphs = options.most_graphs * len(self.image_sizes)
        self._calls = GraphCalls(device, most_graphs) if graphs else Calls()
        self._kept = None if options.path_cache is None else KeptChoices(options.path_cache)
        # How a processor computes; None before the warm-up, and on other devices.
        self.paths: PathChoice | None = None

    @property
    def image_size(self) -> int:
        """The side of the images that are encoded now."""
        return self.model.config.image_size

    def use_image_size(self, image_size: int) -> None:
        """Encode images of this size from here on, one of ``image_sizes``."""
        self.model = self._models[image_size]

    @property
    def counts(self) -> CallCounts:
        """Counts of shapes and graphs; all zero without fixed shapes."""
        return self._calls.counts

    def encode_image(self, pixels_B3SS: Tensor) -> ImageFeatures:
        """Normalise and encode resized images, uint8 (B, 3, S, S)."""
        return ImageFeatures(*self._per_image("encode_image", self._encode, pixels_B3SS))

    def attend(
        self,
        stride16_BCHW: Tensor,
        bank: MemoryBank,
        slot_N: IntArray,
        frame_N: IntArray,
        image_N: IntArray,
    ) -> Tensor:
        """Condition frames on N objects' memories of earlier frames -> (N, C, H, W).

        Objects with equally many memories form one batch, see ``tracker.memory.shapes``.
        """
        begun = FrameState(
            *self._per_image("begin_attention", self.model.begin_attention, stride16_BCHW)
        )
        places = bank.find(slot_N, frame_N)
        groups = groups_of(*places.counts, self._shapes if self._fixed else None)
        parts = [self._attend(begun, bank, places, shape, rows, image_N) for shape, rows in groups]
        if len(parts) == 1:
            return parts[0]
        order_N = np.argsort(np.concatenate([rows for _, rows in groups]))
        return join(parts)[on_device(order_N, self._device)]

    def decode_unprompted(
        self, conditioned_NCHW: Tensor, features: ImageFeatures, image_N: IntArray
    ) -> DecoderOutput:
        """Masks of N objects that got no prompt on this frame."""
        own = features.select(on_device(image_N, self._device))
        return DecoderOutput(
            *self._per_object("decode", self._decode_unprompted, conditioned_NCHW, *own)
        )

    def decode(
        self, conditioned_NCHW: Tensor, features: ImageFeatures, prompt: PromptEmbedding
    ) -> DecoderOutput:
        """Masks of N objects with their prompts; ``features`` holds the objects' own images."""
        return self.model.decode(conditioned_NCHW, features, prompt)

    def encode_memory(
        self, stride16_BCHW: Tensor, mask_N1SS: Tensor, visible_N: Tensor, image_N: IntArray
    ) -> Tensor:
        """Spatial memories (N, L, c) from raw features and masks scaled to -10..10."""
        (begun_BCHW,) = self._per_image("begin_memory", self._begin_memory, stride16_BCHW)
        own_NCHW = begun_BCHW[on_device(image_N, self._device)]
        (memory_NLc,) = self._per_object(
            "finish_memory", self._finish_memory, own_NCHW, mask_N1SS, visible_N
        )
        return memory_NLc

    def calls_to_warm(self, bank: MemoryBank) -> Sequence[Callable[[], object]]:
        """The calls to make once at every image size, so that no shape is new in service.

        Largest first: at most as many images as objects, since a stream that is encoded has an
        object. The first call measures the paths of a processor or the attention kernels of a CUDA
        device.
        """
        before: tuple[Callable[[], None], ...] = ()
        if self._device.type == "cpu":
            before = (self._choose_paths,)
        elif self._device.type == "cuda" and self._options.attention != "sdpa":
            before = (self._choose_attention,)
        if not self._fixed:
            return before
        images = _sizes_within(self._options.image_sizes, bank.capacity)
        rows = _sizes_within(self._options.row_sizes, bank.capacity)
        return (
            *before,
            *(lambda size=size: self._warm_images(size) for size in images),
            *(lambda size=size: self._warm_objects(size) for size in rows),
            *(
                lambda size=size, shape=shape: self._warm_attention(bank, shape, size)
                for shape in sorted(self._shapes.all, reverse=True)
                for size in rows
            ),
        )

    def is_warm(self) -> None:
        """Count new shapes as shapes in service from here on."""
        self._calls.warm = True

    def _attend(
        self,
        begun: FrameState,
        bank: MemoryBank,
        places: MemoryPlaces,
        shape: MemoryShape,
        row_R: IntArray,
        image_N: IntArray,
    ) -> Tensor:
        """Condition the objects ``row_R``, whose memories have this shape."""
        parts = []
        if not self._fixed:
            # Upper bound of an object's keys: its pointers have fewer than a frame.
            config = self.model.config
            keys = config.memory_tokens * config.hidden_dim * (shape.frames + 1)
            some = rows_per_chunk(begun.token_BLC, keys)
            for rows in np.split(row_R, range(some, len(row_R), some)):
                remembered = bank.fetch(places.chosen(rows, shape.frames, shape.pointers))
                own = begun.select(on_device(image_N[rows], self._device))
                parts.append(self.model.attend_memory(own, self.model.memory_tokens(*remembered)))
            return join(parts)
        for chunk in padded_chunks(len(row_R), self._options.row_sizes):
            rows = row_R[chunk.row_R]
            remembered = bank.fetch(places.chosen(rows, shape.frames, shape.pointers))
            if shape.masked:
                remembered = _with_masks(remembered)
            own = begun.select(on_device(image_N[rows], self._device))
            parts.append(self._attend_chunk(own, remembered)[: chunk.real])
        return join(parts)

    def _attend_chunk(self, own: FrameState, remembered: Recollection) -> Tensor:
        return self._calls("attend_memory", self._attend_memory, *own, *remembered)

    def _per_image(
        self, name: str, function: Callable[[Tensor], tuple[Tensor, ...]], images_B: Tensor
    ) -> tuple[Tensor, ...]:
        return self._in_chunks(name, function, self._options.image_sizes, images_B)

    def _per_object(
        self, name: str, function: Callable[..., tuple[Tensor, ...]], *rows_N: Tensor
    ) -> tuple[Tensor, ...]:
        return self._in_chunks(name, function, self._options.row_sizes, *rows_N)

    def _in_chunks(
        self,
        name: str,
        function: Callable[..., tuple[Tensor, ...]],
        sizes: tuple[int, ...],
        *rows_N: Tensor,
    ) -> tuple[Tensor, ...]:
        if not self._fixed:
            return function(*rows_N)
        count = rows_N[0].shape[0]
        chunks = padded_chunks(count, sizes)
        if [len(chunk.row_R) for chunk in chunks] == [count]:
            return self._calls(name, function, *rows_N)
        parts = []
        for row_R, real in chunks:
            row = on_device(row_R, self._device)
            results = self._calls(name, function, *(rows[row] for rows in rows_N))
            parts.append([result[:real] for result in results])
        return tuple(join(part) for part in zip(*parts, strict=True))

    # Called with fixed shapes: functions of tensors only, which never make the host wait.

    def _encode(self, pixels_B3SS: Tensor) -> ImageFeatures:
        return self.model.encode_image(normalised(pixels_B3SS))

    def _attend_memory(
        self, token_NLC: Tensor, query_NLC: Tensor, *remembered: Tensor | None
    ) -> Tensor:
        tokens = self.model.memory_tokens(*remembered)  # type: ignore[arg-type]
        return self.model.attend_memory(FrameState(token_NLC, query_NLC), tokens)

    def _decode_unprompted(self, conditioned_NCHW: Tensor, *levels_NCHW: Tensor) -> DecoderOutput:
        prompt = self.model.no_prompt(conditioned_NCHW.shape[0], self._device)
        return self.decode(conditioned_NCHW, ImageFeatures(*levels_NCHW), prompt)

    def _begin_memory(self, stride16_BCHW: Tensor) -> tuple[Tensor]:
        return (self.model.begin_memory(stride16_BCHW),)

    def _finish_memory(self, *rows_N: Tensor) -> tuple[Tensor]:
        return (self.model.finish_memory(*rows_N),)

    # Calls of the warm-up.

    def _choose_paths(self) -> None:
        """Find or measure the paths of this processor, once for all image sizes."""
        if self.paths is not None:
            return
        config = self.model.config
        self.paths = None if self._kept is None else self._kept.find(config)
        found = self.paths is not None
        if self.paths is None:
            self.paths = measure(config)
            if self._kept is not None:
                self._kept.keep(config, self.paths)
        when = " at an earlier start" if found else ""
        for path, reason in self.paths.reasons().items():
            _log.info("%s; measured%s: %s", path, when, reason)

    def _choose_attention(self) -> None:
        """Measure the kernels of memory attention."""
        config = self.model.config
        largest = self._shapes.steady[0]
        autocast = torch.is_autocast_enabled(self._device.type)
        choose(
            self.model.memory_attention,
            candidates(self._options.attention),
            (
                config.grid_size**2,
                largest.frames * config.memory_tokens,
                largest.pointers * config.pointer_tokens,
            ),
            torch.get_autocast_dtype(self._device.type) if autocast else torch.float32,
            self._device,
            must=self._options.attention != "auto",
        )

    def _warm_images(self, size: int) -> None:
        side = self.image_size
        blank = torch.zeros(size, 3, side, side, dtype=torch.uint8, device=self._device)
        features = self.encode_image(blank)
        self._per_image("begin_attention", self.model.begin_attention, features.stride16_BCHW)
        self._per_image("begin_memory", self._begin_memory, features.stride16_BCHW)

    def _warm_objects(self, size: int) -> None:
        side = self.image_size
        features = self.encode_image(
            torch.zeros(1, 3, side, side, dtype=torch.uint8, device=self._device)
        )
        image_N = np.zeros(size, np.int64)
        conditioned = self.model.attend(features.stride16_BCHW.expand(size, -1, -1, -1), None)
        self.decode_unprompted(conditioned, features, image_N)
        mask = torch.zeros(size, 1, side, side, device=self._device)
        visible = torch.ones(size, dtype=torch.bool, device=self._device)
        self.encode_memory(features.stride16_BCHW, mask, visible, image_N)

    def _warm_attention(self, bank: MemoryBank, shape: MemoryShape, size: int) -> None:
        side = self.image_size
        features = self.encode_image(
            torch.zeros(1, 3, side, side, dtype=torch.uint8, device=self._device)
        )
        first = torch.zeros(size, dtype=torch.int64, device=self._device)
        own = self.model.begin_attention(features.stride16_BCHW).select(first)
        remembered = bank.fetch(bank.blank(shape, size))
        self._attend_chunk(own, _with_masks(remembered) if shape.masked else remembered)


def _sizes_within(sizes: tuple[int, ...], most: int) -> list[int]:
    """The chunk sizes that up to ``most`` rows can have, largest first."""
    in_use = {size for count in range(1, most + 1) for size in chunk_sizes(count, sizes)}
    return sorted(in_use, reverse=True)


def _with_masks(remembered: Recollection) -> Recollection:
    """With both masks, also where nothing is padding, so that the shape is the same."""
    frame_valid, pointer_valid = remembered.frame_valid_NF, remembered.pointer_valid_NP
    if frame_valid is None:
        frame_valid = torch.ones_like(remembered.temporal_index_NF, dtype=torch.bool)
    if pointer_valid is None:
        pointer_valid = torch.ones_like(remembered.pointer_age_NP, dtype=torch.bool)
    return remembered._replace(frame_valid_NF=frame_valid, pointer_valid_NP=pointer_valid)
