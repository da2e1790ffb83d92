"""Calls of fixed shapes: counted, and on a CUDA device captured as graphs.

A graph replays all launches of a call at once, on buffers at fixed addresses. One is kept for each
shape, up to ``most_graphs``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

# A tensor, or a tuple of tensors such as ImageFeatures.
Result = TypeVar("Result", bound=Tensor | tuple[Tensor, ...])
Shape = tuple[tuple[int, ...], torch.dtype] | None
Key = tuple[str, tuple[Shape, ...]]

_RUNS_BEFORE_CAPTURE = 3


@dataclass(slots=True)
class CallCounts:
    """Counters, which never decrease.

    ``shapes``: distinct shapes called. ``in_service``: those first called after the warm-up.
    ``captures`` and ``evictions`` of graphs: more captures than shapes mean that evicted graphs
    had to be captured again.
    """

    shapes: int = 0
    in_service: int = 0
    captures: int = 0
    evictions: int = 0


@dataclass(slots=True)
class Calls:
    """Calls that are only counted. Bound: one small key for each shape."""

    counts: CallCounts = field(default_factory=CallCounts)
    warm: bool = False
    _seen: set[Key] = field(default_factory=set)

    def __call__(
        self, name: str, function: Callable[..., Result], *tensors: Tensor | None
    ) -> Result:
        """Call ``function``, which ``name`` identifies, with these tensors."""
        self._count(key_of(name, tensors))
        return function(*tensors)

    def _count(self, key: Key) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self.counts.shapes += 1
            self.counts.in_service += self.warm


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor | None]
    outputs: Tensor | tuple[Tensor, ...]


class GraphCalls(Calls):
    """Calls that are captured the first time and replayed afterwards.

    Bound: ``most_graphs``; the least recently used one goes. Graphs of one function share its
    input buffers, sized for its largest call so far, and all graphs share one memory pool. Results
    are copies: a later replay does not change them.
    """

    def __init__(self, device: torch.device, most_graphs: int) -> None:
        super().__init__()
        self._device = device
        self._most = most_graphs
        self._graphs: OrderedDict[Key, _Graph] = OrderedDict()
        self._buffers: dict[tuple[str, int, torch.dtype], Tensor] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # On this device: PyTorch's default capture stream is on the first device, and work on
        # another device is not captured.
        self._aside = torch.cuda.Stream(device)

    def __call__(
        self, name: str, function: Callable[..., Result], *tensors: Tensor | None
    ) -> Result:
        """Replay the graph of this function for these shapes; capture it the first time."""
        key = key_of(name, tensors)
        self._count(key)
        captured = self._graphs.get(key)
        if captured is None:
            captured = self._capture(name, function, tensors)
            self._graphs[key] = captured
            self.counts.captures += 1
            if len(self._graphs) > self._most:
                self._graphs.popitem(last=False)
                self.counts.evictions += 1
        else:
            self._graphs.move_to_end(key)
            for buffer, tensor in zip(captured.inputs, tensors, strict=True):
                if buffer is not None and tensor is not None:
                    buffer.copy_(tensor)
        captured.graph.replay()
        return _copy_of(captured.outputs)  # type: ignore[return-value]

    def _capture(
        self,
        name: str,
        function: Callable[..., Tensor | tuple[Tensor, ...]],
        tensors: Sequence[Tensor | None],
    ) -> _Graph:
        inputs = [
            None if tensor is None else self._buffer(name, place, tensor)
            for place, tensor in enumerate(tensors)
        ]
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.device(self._device):
            # In their first calls libraries choose kernels and allocate one workspace per stream,
            # which a capture does not allow.
            self._aside.wait_stream(current)
            with torch.cuda.stream(self._aside):
                for _ in range(_RUNS_BEFORE_CAPTURE):
                    function(*inputs)
            current.wait_stream(self._aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads prepare images meanwhile: only this thread is restricted to what can
            # be captured.
            with torch.cuda.graph(
                graph, self._pool, self._aside, capture_error_mode="thread_local"
            ):
                outputs = function(*inputs)
        return _Graph(graph, inputs, outputs)

    def _buffer(self, name: str, place: int, tensor: Tensor) -> Tensor:
        """A call's input buffer: the first part of what the largest call needed."""
        key = name, place, tensor.dtype
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < tensor.numel():
            # Earlier graphs keep the smaller buffer alive.
            buffer = torch.empty(tensor.numel(), dtype=tensor.dtype, device=self._device)
            self._buffers[key] = buffer
        view = buffer[: tensor.numel()].view(tensor.shape)
        view.copy_(tensor)
        return view


def key_of(name: str, tensors: Sequence[Tensor | None]) -> Key:
    """The key that is equal for two calls of the same shape."""
    return name, tuple(
        None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in tensors
    )


def _copy_of(outputs: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(outputs, Tensor):
        return outputs.clone()
    kind = type(outputs)
    copies = [tensor.clone() for tensor in outputs]
    return kind(*copies) if hasattr(kind, "_fields") else tuple(copies)
