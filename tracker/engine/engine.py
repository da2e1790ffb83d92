"""The network as a step calls it: in fixed shapes where that is faster, with CUDA graphs on a GPU.

Results are those of ``tracker.model.Sam2`` up to rounding. Padding rows are copies of a real row;
their results are dropped, and no row depends on another. What else a step computes for its images
and objects goes through ``over_images`` and ``over_objects``.

Dimensions: B images, N objects, C channels, c memory channels, H W token grid, L tokens
of a spatial memory, S image size.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tracker.engine.calls import Array, Call, CallCounts, Calls, rows_of
from tracker.engine.graph_calls import GraphCalls
from tracker.engine.image_sizes import at_size, sizes_of
from tracker.engine.kernel_cache import keep_kernels
from tracker.engine.network_parts import NetworkParts
from tracker.engine.openvino_parts import Function
from tracker.engine.out_of_memory import is_out_of_memory
from tracker.engine.padding import chunk_sizes, padded_chunks
from tracker.engine.ready_sizes import IMAGES, OBJECTS, Kind, ReadySizes
from tracker.memory.bank import MemoryBank
from tracker.memory.places import IntArray, MemoryPlaces, Recollection
from tracker.memory.shapes import MemoryShape, MemoryShapes, groups_of
from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.model.chunking import rows_per_chunk
from tracker.model.memory_attention import FrameState
from tracker.options import EngineOptions

if TYPE_CHECKING:
    from tracker.engine.device_attention import DeviceAttention

_log = logging.getLogger(__name__)


class Engine:
    """Runs a network. Created by the tracker; called from its thread, under its autocast.

    ``parts`` are the parts of the network; ``image_sizes`` lists all sizes of its images.
    """

    def __init__(
        self,
        model: Sam2,
        options: EngineOptions,
        shapes: MemoryShapes,
        device: torch.device,
        most_rows: int,
    ) -> None:
        """``most_rows``: the largest number of objects of a step."""
        self._options = options
        self._device = device
        if options.kernel_cache is not None:
            keep_kernels(options.kernel_cache, options.kernel_cache_bytes)
        self.fixed = options.fixes_shapes(device.type)
        self.parts = NetworkParts(model, options, shapes, device)
        self._shapes = shapes
        self._sizes = ReadySizes(options, shapes)
        graphs = self.fixed and device.type == "cuda" and options.graphs == "auto"
        self.image_sizes = sizes_of(options, model.config.image_size, model.config.image_size_step)
        self._models = {model.config.image_size: model} | {
            size: at_size(model, size) for size in self.image_sizes[1:]
        }
        most_graphs = options.most_graphs * len(self.image_sizes)
        self.calls = (
            GraphCalls(device, most_graphs, most_rows)
            if graphs
            else Calls(device, counted=self.fixed)
        )
        # Memory attention by Triton kernels, by image size; where there is none, by the network.
        self._attention: dict[int, DeviceAttention] = {}
        # The images encoded last, and what was begun with them in the same call.
        self._begun_with: tuple[Tensor, tuple[Tensor, ...]] | None = None

    @property
    def model(self) -> Sam2:
        """The network for the image size in use."""
        return self.parts.model

    @property
    def image_size(self) -> int:
        """The side of the images that are encoded now."""
        return self.model.config.image_size

    def use_image_size(self, image_size: int) -> None:
        """Encode images of this size from here on, one of ``image_sizes``."""
        self.parts.model = self._models[image_size]

    @property
    def counts(self) -> CallCounts:
        """Counts of shapes and graphs; all zero without fixed shapes."""
        return self.calls.counts

    def run(self) -> None:
        """Begin all calls made so far, before anything else reads their results."""
        self.calls.run()

    def encode_image(self, pixels_B3SS: Tensor) -> ImageFeatures:
        """Normalise and encode resized images, uint8 (B, 3, S, S)."""
        count = len(pixels_B3SS)
        made = self.over_images(
            "encode_image", self._encode, count, (self.all_rows(count),), (pixels_B3SS,)
        )
        self._begun_with = (made[0], made[3:]) if made[3:] else None
        return ImageFeatures(*made[:3])

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
        begun = self._begun(stride16_BCHW)
        places = bank.find(slot_N, frame_N)
        shapes = self._sizes.shapes(self.image_size) if self.fixed else None
        groups = groups_of(*places.counts, shapes)
        calls = [
            self._attention_call(begun, bank, places, shape, row_R, image_N, place_n)
            for shape, rows in groups
            for row_R, place_n in self._attention_chunks(shape, rows)
        ]
        (conditioned_NCHW,) = self.calls("conditioned", len(slot_N), calls)
        return conditioned_NCHW

    def decode_unprompted(self, conditioned_NCHW: Tensor, features: ImageFeatures) -> DecoderOutput:
        """Masks of N objects that got no prompt; ``features`` holds the objects' own images.

        At once, as part of a call.
        """
        return self.parts.decode_unprompted(conditioned_NCHW, features)

    def finish_memory(
        self, projected_NCHW: Tensor, logits_N1hw: Tensor, prompted_N: Tensor, visible_N: Tensor
    ) -> Tensor:
        """Spatial memories of N objects (N, L, c), from the projected features of their images.

        At once, as part of a call. ``prompted_N``: whose masks are remembered as binary ones.
        """
        return self.parts.finish_memory(projected_NCHW, logits_N1hw, prompted_N, visible_N)

    def begin_memory(self, stride16_BCHW: Tensor) -> Tensor:
        """The part of a memory that depends on its image only, (B, C, H, W)."""
        if self._begun_with is not None and self._begun_with[0] is stride16_BCHW:
            return self._begun_with[1][2]
        images = len(stride16_BCHW)
        (projected_BCHW,) = self.over_images(
            "begin_memory", self._begin_memory, images, (self.all_rows(images),), (stride16_BCHW,)
        )
        return projected_BCHW

    def all_rows(self, count: int) -> IntArray | None:
        """The rows of a table with as many rows as the result; None: as they are."""
        return np.arange(count) if self.fixed else None

    def over_images(
        self,
        name: str,
        function: Function,
        count: int,
        arrays: Sequence[Array | None],
        tables: Sequence[Tensor | None],
    ) -> tuple[Tensor, ...]:
        """``function(*arrays, *tables)`` for ``count`` images, which arrays have a row each of."""
        calls = self._in_chunks(name, function, np.arange(count), arrays, tables, IMAGES)
        return self.calls(name, count, calls)

    def over_objects(
        self,
        name: str,
        function: Function,
        place_N: IntArray,
        arrays: Sequence[Array | None],
        tables: Sequence[Tensor | None],
    ) -> list[Call]:
        """The calls of a function for objects, whose results go to these places."""
        return self._in_chunks(name, function, place_N, arrays, tables, OBJECTS)

    def calls_to_warm(
        self,
        bank: MemoryBank,
        warm_images: Callable[[int], None],
        warm_objects: Callable[[int], None],
    ) -> tuple[Sequence[Callable[[], object]], Sequence[Callable[[], object]]]:
        """The calls to make once at this image size, so that no shape is new in service.

        First those to wait for, then rare ones that may be made at any time (``ReadySizes``).
        ``warm_images`` and ``warm_objects`` make what a step calls for a number of them.
        Largest first: at most as many images as objects, since a stream that is encoded has an
        object. The very first measures the paths of a processor or the attention kernels of a CUDA
        device. Each raises ``torch.OutOfMemoryError`` only if not even a single row fits.
        """
        first: list[Callable[[], object]] = []
        if self._device.type == "cpu":
            first.append(self.parts.choose_paths)
        elif self._device.type == "cuda" and self._options.attention != "sdpa":
            first += [self._choose_trunk, partial(self._choose_attention, bank)]
        later: list[Callable[[], object]] = []
        if not self.fixed:
            return first, later
        kinds: tuple[tuple[Kind, Callable[[int], None]], ...] = (
            (IMAGES, warm_images),
            (OBJECTS, warm_objects),
            *((each, partial(self._warm_attention, bank, each)) for each in self._shapes.all),
        )
        for kind, call in kinds:
            for size in _sizes_within(self._sizes.allowed(kind), bank.capacity):
                calls = first if size <= self._sizes.first(kind) else later
                calls.append(partial(self._warm, kind, size, call))
        return first, later

    def is_warm(self) -> None:
        """Count new shapes as shapes in service from here on."""
        self.calls.warm = True

    @contextmanager
    def cold(self) -> Iterator[None]:
        """Capture new shapes without counting them as shapes in service."""
        was_warm, self.calls.warm = self.calls.warm, False
        try:
            yield
        finally:
            self.calls.warm = was_warm

    def use_smaller_batches(self) -> int | None:
        """Drop what was captured, and allow smaller batches -> the most; None: single ones."""
        self.calls.clear()
        return self._sizes.reduce()

    def add_image_size(self, image_size: int) -> None:
        """Make a further, smaller size usable."""
        self._models[image_size] = at_size(self.model, image_size)
        self.image_sizes = (*self.image_sizes, image_size)

    def _in_chunks(
        self,
        name: str,
        function: Function,
        place_N: IntArray,
        arrays: Sequence[Array | None],
        tables: Sequence[Tensor | None],
        kind: Kind,
    ) -> list[Call]:
        count = len(place_N)
        sizes = self._sizes.of(kind, self.image_size)
        if not self.fixed or count in sizes:
            return [Call(name, function, place_N, count, tuple(arrays), tuple(tables))]
        calls = []
        for row_R, real in padded_chunks(count, sizes):
            own = tuple(None if each is None else each[row_R] for each in arrays)
            calls.append(
                Call(name, function, place_N[row_R[:real]], len(row_R), own, tuple(tables))
            )
        return calls

    def _attention_chunks(
        self, shape: MemoryShape, row_R: IntArray
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """The rows of each chunk of a group, with its padding and without."""
        if self.fixed:
            sizes = self._sizes.of(shape, self.image_size)
            for chunk in padded_chunks(len(row_R), sizes):
                yield row_R[chunk.row_R], row_R[chunk.row_R[: chunk.real]]
            return
        # Upper bound of an object's keys: its pointers have fewer than a frame.
        config = self.model.config
        keys = config.memory_tokens * config.hidden_dim * (shape.frames + 1)
        some = rows_per_chunk(self.model.no_mem_embed, keys)
        for rows in np.array_split(row_R, math.ceil(len(row_R) / some)):
            yield rows, rows

    def _attention_call(
        self,
        begun: tuple[Tensor, ...],
        bank: MemoryBank,
        places: MemoryPlaces,
        shape: MemoryShape,
        row_R: IntArray,
        image_N: IntArray,
        place_n: IntArray,
    ) -> Call:
        """Condition the objects ``row_R``, whose memories have this shape."""
        own = places.chosen(row_R, shape.frames, shape.pointers)
        masks = (own.valid_NF, own.pointer_valid_NP) if shape.masked else (None, None)
        return Call(
            "attend_memory",
            partial(self._attend_memory, bank),
            place_n,
            len(row_R),
            (
                image_N[row_R],
                own.slot_N,
                own.column_NF,
                own.temporal_NF,
                own.pointer_column_NP,
                own.age_NP,
                *masks,
            ),
            begun,
        )

    def _begun(self, stride16_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The part of ``attend`` that depends on images only."""
        if self._begun_with is not None and self._begun_with[0] is stride16_BCHW:
            return self._begun_with[1][:2]
        images = len(stride16_BCHW)
        own = (self.all_rows(images),)
        return self.over_images(
            "begin_attention", self._begin_attention, images, own, (stride16_BCHW,)
        )

    # Called with fixed shapes: functions of tensors only, which never make the host wait.

    def _encode(self, row_R: Tensor | None, pixels_B3SS: Tensor) -> tuple[Tensor, ...]:
        return self.parts.encode(rows_of(pixels_B3SS, row_R))

    def _begin_attention(self, row_R: Tensor | None, stride16_BCHW: Tensor) -> FrameState:
        ours = self._attention.get(self.image_size)
        begin = self.model.begin_attention if ours is None else ours.begin
        return begin(rows_of(stride16_BCHW, row_R))

    def _attend_memory(
        self,
        bank: MemoryBank,
        image_R: Tensor,
        slot_R: Tensor,
        column_RF: Tensor,
        temporal_RF: Tensor,
        pointer_column_RP: Tensor,
        age_RP: Tensor,
        valid_RF: Tensor | None,
        pointer_valid_RP: Tensor | None,
        *begun: Tensor,
    ) -> tuple[Tensor]:
        spatial, pointer = bank.contents(slot_R, column_RF, pointer_column_RP)
        memories = Recollection(spatial, temporal_RF, pointer, age_RP, valid_RF, pointer_valid_RP)
        frame = FrameState(*begun).select(image_R)
        ours = self._attention.get(self.image_size)
        if ours is not None:
            return (ours.attend(frame, memories),)
        shape = MemoryShape(spatial.shape[1], pointer.shape[1], masked=valid_RF is not None)
        return (self.parts.attend(frame, memories, shape),)

    def _begin_memory(self, row_R: Tensor | None, stride16_BCHW: Tensor) -> tuple[Tensor]:
        return (self.model.begin_memory(rows_of(stride16_BCHW, row_R)),)

    # Calls of the warm-up.

    def _warm(self, kind: Kind, size: int, call: Callable[[int], None]) -> None:
        """Make a call of this size, and fewer rows the rule where they do not fit the memory."""
        if size not in self._sizes.allowed(kind):
            return
        try:
            with self._sizes.warming(), self.cold():
                call(size)
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            self._sizes.limit(kind, size // 2)
            _log.warning(
                "%s has too little memory for %d %s at once: at most %d from here on",
                self._device,
                size,
                IMAGES if kind == IMAGES else OBJECTS,
                size // 2,
            )
        else:
            self._sizes.add(kind, self.image_size, size)

    def _choose_trunk(self) -> None:
        """Let Hiera or ViT run by Triton kernels, if they work on this device."""
        try:
            from tracker.engine.device_trunk import use_where_it_works
        except ImportError:
            return  # ``_choose_attention`` says so
        use_where_it_works(list(self._models.values()))

    def _choose_attention(self, bank: MemoryBank) -> None:
        """Measure the kernels of memory attention."""
        try:
            from tracker.engine.attention_choice import Offer, choose
        except ImportError:
            _log.warning("triton is not installed: its attention kernels are left out")
            return
        chosen = choose(
            self.model,
            self._shapes.steady[0],
            _sizes_within(self._sizes.allowed(OBJECTS), bank.capacity),
            self._device,
            Offer(only_triton=self._options.attention == "triton", cudnn=self.fixed),
        )
        if chosen is not None:
            self._attention[self.image_size] = chosen

    def warm_images(self, pixels_B3SS: Tensor) -> None:
        """Make what depends on images only."""
        stride16_BCHW = self.encode_image(pixels_B3SS).stride16_BCHW
        self._begun(stride16_BCHW)
        self.begin_memory(stride16_BCHW)

    def _warm_attention(self, bank: MemoryBank, shape: MemoryShape, size: int) -> None:
        self._attend_blank(bank, shape, size)
        self.run()

    def _attend_blank(self, bank: MemoryBank, shape: MemoryShape, size: int) -> Tensor:
        begun = self._begun(self.encode_image(self.blank(1)).stride16_BCHW)
        row_R = np.arange(size)
        places = bank.blank(shape, size)
        call = self._attention_call(begun, bank, places, shape, row_R, np.zeros_like(row_R), row_R)
        (conditioned,) = self.calls("conditioned", size, [call])
        return conditioned

    def blank_conditioned(self, bank: MemoryBank, size: int) -> Tensor:
        """A blank image conditioned on blank memories, for so many objects."""
        return self._attend_blank(bank, self._shapes.steady[0], size)

    def blank(self, images: int) -> Tensor:
        """Blank images."""
        side = self.image_size
        blank = torch.zeros(images, 3, side, side, dtype=torch.uint8, device=self._device)
        return self.calls.table("pixels", [blank])


def _sizes_within(sizes: tuple[int, ...], most: int) -> list[int]:
    """The chunk sizes that up to ``most`` rows can have, largest first."""
    in_use = {size for count in range(1, most + 1) for size in chunk_sizes(count, sizes)}
    return sorted(in_use, reverse=True)
