"""The parts of ``torch.cuda`` that Masklet uses, for a device that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.tracker.pretended.graphs import Graph, Recording
from tests.tracker.pretended.tensors import OnDevice, PretendedDevice
from tracker.host_arrays import copy_stream

PROPERTIES = SimpleNamespace(shared_memory_per_block=49_152, shared_memory_per_block_optin=232_448)


class Cuda:
    """Streams, events, graphs and the current device, as ``torch.cuda`` has them."""

    def __init__(self, device: PretendedDevice) -> None:
        self.device = device
        self.current = 0  # the device a thread begins with
        self._streams: dict[int, Stream] = {}
        self.CUDAGraph = Graph
        device.stream = lambda: self.current_stream(device.index)

    def current_stream(self, device: Any = None) -> Stream:
        """The stream that calls on the device go to."""
        index = self.index_of(device)
        if index not in self._streams:
            self._streams[index] = Stream(self, index)
        return self._streams[index]

    def index_of(self, device: Any) -> int:
        """A device's number; of ``cuda`` without one, and of None, that of the current one."""
        if device is None or isinstance(device, int):
            return self.current if device is None else device
        index = torch.device(device).index
        return self.current if index is None else index

    def new_stream(self, device: Any = None) -> Stream:
        return Stream(self, self.index_of(device))

    def new_event(self, enable_timing: bool = False) -> Event:
        return Event(self)

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        """``torch.cuda.stream``: its device becomes the current one."""
        before = self.current_stream(stream.index)
        with self.on(stream.index):
            self._streams[stream.index] = stream
            try:
                yield
            finally:
                self._streams[stream.index] = before

    @contextmanager
    def on(self, device: Any) -> Iterator[None]:
        """``torch.cuda.device``."""
        before, self.current = self.current, self.index_of(device)
        try:
            yield
        finally:
            self.current = before

    def on_device_of(self, tensor: Tensor) -> Any:
        return self.on(tensor.index if isinstance(tensor, OnDevice) else None)

    def synchronize(self, device: Any = None) -> None:
        if self.index_of(device) == self.device.index:
            self.device.finish()

    @contextmanager
    def capture(
        self, graph: Graph, pool: Any, stream: Stream | None = None, capture_error_mode: str = ""
    ) -> Iterator[None]:
        """``torch.cuda.graph``: kernels are written down, and not run."""
        assert capture_error_mode == "thread_local", "other threads use the device meanwhile"
        with self.stream(self.new_stream() if stream is None else stream):
            # What runs on another device is not captured, and the graph would be empty.
            assert self.current == self.device.index, "captured on another device"
            self.synchronize()
            assert self.device.recording is None
            graph.begin(pool)
            self.device.recording = graph.recording
            try:
                yield
            finally:
                self.device.recording = None
            graph.end()


class Stream:
    """``begun``: how much was begun on it. ``seen``: how much of others is done before more is."""

    def __init__(self, cuda: Cuda, index: int) -> None:
        self._cuda, self.index = cuda, index
        self.device = torch.device("cuda", index)
        self.begun = 0
        self.seen: dict[Stream, int] = {}

    def wait_stream(self, other: Stream) -> None:
        assert self.index == other.index == self._cuda.device.index, "streams of other devices"
        self.seen |= other.seen | {other: other.begun}


class Event:
    """What was begun before it is done when it was waited for."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._after = 0

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or self._cuda.current_stream()
        device = self._cuda.device
        assert stream.index == device.index, "recorded on another device"
        self._after = device.finished + len(device.under_way)

    def synchronize(self) -> None:
        self._cuda.device.finish(self._after)

    def elapsed_time(self, other: Event) -> float:
        return 1.0


_Real = torch.Generator


class _OfRealOnes(type(_Real)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _Real)


class _Generator(_Real, metaclass=_OfRealOnes):
    """Of random numbers, for whichever device; they are the processor's."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = _Real.__new__(cls, "cpu")
        made.place = torch.device(device)
        return made

    device = property(lambda self: self.place)  # type: ignore[assignment]


@contextmanager
def pretended_cuda(
    index: int = 0, capability: tuple[int, int] = (9, 0)
) -> Iterator[PretendedDevice]:
    """Let ``cuda:index`` be there for this thread, while another device is the current one.

    Networks are computed in what their tracker says, by the processor's kernels.
    """
    device = PretendedDevice(index)
    cuda = Cuda(device)
    stand_ins: dict[str, Any] = {
        "is_available": lambda: True,
        "get_device_capability": lambda device=None: capability,
        "device_count": lambda: index + 1,
        "Stream": cuda.new_stream,
        "Event": cuda.new_event,
        "stream": cuda.stream,
        "current_stream": cuda.current_stream,
        "synchronize": cuda.synchronize,
        "device": cuda.on,
        "device_of": cuda.on_device_of,
        "CUDAGraph": Graph,
        "graph": cuda.capture,
        "graph_pool_handle": Recording.new_pool,
        "get_device_name": lambda device=None: "a device that is not there",
        "get_device_properties": lambda device=None: PROPERTIES,
    }
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    tf32 = torch.backends.cudnn.allow_tf32
    cudnn_attention = torch.backends.cuda.cudnn_sdp_enabled()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    copy_stream.cache_clear()
    try:
        with (
            mock.patch.multiple(torch.cuda, **stand_ins),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(
                Tensor,
                "record_stream",
                lambda tensor, _: device.record_stream(tensor),
            ),
            device,
        ):
            yield device
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
        copy_stream.cache_clear()
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.enable_cudnn_sdp(cudnn_attention)
