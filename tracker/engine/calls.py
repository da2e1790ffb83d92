"""Calls of fixed shapes: which there were, and on a CUDA device their captured graphs.

A graph replays the launches of a call at once, on buffers that stay where they are. It is kept
for every shape that came, as far as ``most_graphs`` allows.
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
    """What happened so far; all of it only grows.

    ``shapes``: different shapes that were called. ``in_service``: of these, first called after
    the warm-up. ``captures`` and ``evictions`` of graphs: more captures than shapes mean that
    graphs went and had to come again.
    """

    shapes: int = 0
    in_service: int = 0
    captures: int = 0
    evictions: int = 0


@dataclass(slots=True)
class Calls:
    """Calls that are only counted. Bound: one small key for every shape."""

    counts: CallCounts = field(default_factory=CallCounts)
    warm: bool = False
    _seen: set[Key] = field(default_factory=set)

    def __call__(
        self, name: str, function: Callable[..., Result], *tensors: Tensor | None
    ) -> Result:
        """Call ``function``, one of a name, with these tensors."""
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
    """Calls that are captured the first time and replayed after that.

    Bound: ``most_graphs``; the one used longest ago goes. Graphs of one function share the
    buffers of its inputs, which are as large as its largest call so far, and all graphs share a
    pool for what they compute. Results are copies: a later replay does not change them.
    """

    def __init__(self, device: torch.device, most_graphs: int) -> None:
        super().__init__()
        self._device = device
        self._most = most_graphs
        self._graphs: OrderedDict[Key, _Graph] = OrderedDict()
        self._buffers: dict[tuple[str, int, torch.dtype], Tensor] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # Of this device: PyTorch's own stream for captures is the first device's, and what runs
        # on another is not captured.
        self._aside = torch.cuda.Stream(device)

    def __call__(
        self, name: str, function: Callable[..., Result], *tensors: Tensor | None
    ) -> Result:
        """Replay the graph of this function for these shapes; capture it if there is none."""
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
            # Libraries choose their kernels and make their workspaces, one for each stream, in
            # the first calls, which a capture does not allow.
            self._aside.wait_stream(current)
            with torch.cuda.stream(self._aside):
                for _ in range(_RUNS_BEFORE_CAPTURE):
                    function(*inputs)
            current.wait_stream(self._aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads prepare images meanwhile: only this one must keep to what can be
            # captured.
            with torch.cuda.graph(
                graph, self._pool, self._aside, capture_error_mode="thread_local"
            ):
                outputs = function(*inputs)
        return _Graph(graph, inputs, outputs)

    def _buffer(self, name: str, place: int, tensor: Tensor) -> Tensor:
        """Where a call finds an input: the beginning of what its largest call needed."""
        key = name, place, tensor.dtype
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < tensor.numel():
            # Graphs captured before keep the smaller one alive.
            buffer = torch.empty(tensor.numel(), dtype=tensor.dtype, device=self._device)
            self._buffers[key] = buffer
        view = buffer[: tensor.numel()].view(tensor.shape)
        view.copy_(tensor)
        return view


def key_of(name: str, tensors: Sequence[Tensor | None]) -> Key:
    """What decides whether two calls are of one shape."""
    return name, tuple(
        None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in tensors
    )


def _copy_of(outputs: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(outputs, Tensor):
        return outputs.clone()
    kind = type(outputs)
    copies = [tensor.clone() for tensor in outputs]
    return kind(*copies) if hasattr(kind, "_fields") else tuple(copies)
