"""A CUDA device of shapes alone: whole steps of any size on a machine without one, counted.

PyTorch's fake tensors have shapes, dtypes and strides but no memory, and are dispatched as on the
device: its autocast, its fused attention, its channels-last results. Whatever the host reads of the
device is ones: every object is visible and remembered. The rule of counting:

- an operator that makes or changes a tensor is one kernel; a view is none;
- a kernel reads each of its tensors once and writes each of its results once; elements that
  ``expand`` repeats count once; attention is one kernel. Caches, workspaces and layout changes
  inside cuDNN are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tracker.engine.calls import Call
from tracker.engine.graph_calls import GraphCalls
from tracker.images import scene_change, transforms

# Composite operators with one kernel on a device; all others are taken apart.
_FUSED = {
    *("aten::linear", "aten::layer_norm", "aten::scaled_dot_product_attention"),
    *("aten::conv2d", "aten::conv_transpose2d"),
}
# Nothing runs on the device.
_FREE = {
    *("aten::empty", "aten::empty_strided", "aten::empty_like", "aten::new_empty", "aten::detach"),
    *("aten::new_empty_strided", "aten::lift_fresh", "aten::_unsafe_view", "prim::device"),
}
# These write their first tensors without reading them.
_OVERWRITES = {"aten::copy_", "aten::_foreach_copy_", "aten::fill_", "aten::zero_"}
_COMPOSITE = "CompositeImplicitAutograd"


@dataclass(slots=True)
class Counts:
    """Kernels and their bytes by operator or Triton function; copies between host and device."""

    kernels: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    transfers: int = 0

    def add(self, name: str, read: Sequence[Tensor], written: Sequence[Tensor]) -> None:
        """Count one kernel."""
        self.kernels[name] += 1
        self.bytes[name] += sum(map(_touched_bytes, (*_distinct(read), *_distinct(written))))

    def __iadd__(self, other: Counts) -> Counts:
        self.kernels += other.kernels
        self.bytes += other.bytes
        self.transfers += other.transfers
        return self


class CountingMode(TorchDispatchMode):
    """Counts what is dispatched to the device.

    ``outside``: what no graph holds. ``replayed``: graphs by the name of their call, each with its
    replays. Both grow until ``restart``.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.call = ""
        self.outside = self._into = Counts()
        self.replayed: dict[str, Counts] = {}
        self.replays = 0

    def restart(self) -> None:
        """Count from zero."""
        self.outside = self._into = Counts()
        self.replayed = {}
        self.replays = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # Pinned memory needs a driver.
        options = {key: value for key, value in (kwargs or {}).items() if key != "pin_memory"}
        qualified = function.name()
        name = qualified.split(".")[0]
        if name not in _FUSED | _FREE and torch._C._dispatch_has_kernel_for_dispatch_key(
            qualified, _COMPOSITE
        ):
            with self:
                return function._op_dk(getattr(torch._C.DispatchKey, _COMPOSITE), *args, **options)
        result = function(*args, **options)
        if name == "aten::lift_fresh":
            result.constant = None  # or it would be computed with, for real
        if name == "aten::scaled_dot_product_attention":
            # As the fused kernels lay it out: heads beside each other.
            result = result.transpose(1, 2).contiguous().transpose(1, 2)
        if name in _FREE or function.is_view:
            return result
        given = [each for each in tree_leaves((args, options)) if isinstance(each, Tensor)]
        found = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        # A number of the host is an argument of the kernel.
        places = {each.device.type for each in (*found, *(each for each in given if each.ndim))}
        if "cuda" not in places:
            return result
        if "cpu" in places:
            self._into.transfers += 1
            return result
        changed = tree_leaves(
            [
                value
                for argument, value in zip(function._schema.arguments, args, strict=False)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
        )
        read = given[len(changed) :] if name in _OVERWRITES else given
        self._into.add(name, read, changed or found)
        return result

    def launch(self, kernel: Any, *args: Any, **options: Any) -> None:
        """Stand in for a launch of a Triton function: each of its tensors counts once."""
        tensors = [each for each in (*args, *options.values()) if isinstance(each, Tensor)]
        self._into.add(f"triton::{kernel.fn.__name__}", tensors, ())

    @contextmanager
    def capture(self, graph: _Graph, *_: Any, **__: Any) -> Iterator[None]:
        """``torch.cuda.graph``: what is counted belongs to the graph."""
        before, self._into = self._into, graph.counts
        try:
            yield
        finally:
            self._into = before

    def replay(self, graph: _Graph) -> None:
        """``CUDAGraph.replay``."""
        self.replays += 1
        self.replayed.setdefault(graph.call, Counts()).__iadd__(graph.counts)


class _Graph:
    """``torch.cuda.CUDAGraph``."""

    def __init__(self, counting: CountingMode) -> None:
        self.counts = Counts()
        self.call = counting.call
        self.replay = lambda: counting.replay(self)


def _touched_bytes(tensor: Tensor) -> int:
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride else min(size, 1)
    return elements * tensor.element_size()


def _distinct(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each memory once: the largest of the tensors that begin at the same element."""
    largest: dict[tuple[int, int], Tensor] = {}
    for tensor in sorted(tensors, key=_touched_bytes):
        largest[tensor.untyped_storage()._cdata, int(tensor.storage_offset())] = tensor
    return list(largest.values())


_real_numpy = Tensor.numpy


def _numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """``Tensor.numpy``: ones; bytes are those of ones in float64, since results travel as bytes."""
    if not isinstance(tensor, FakeTensor):
        return _real_numpy(tensor)
    dtype, shape = np.dtype(str(tensor.dtype).removeprefix("torch.")), tuple(tensor.shape)
    if dtype != np.uint8:
        return np.ones(shape, dtype)
    return np.ones(-(-tensor.numel() // 8)).view(np.uint8)[: tensor.numel()].reshape(shape)


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor]) -> nn.Module:
    """``Module._apply``, which swaps the memory of tensors: these have none."""
    for own in module.modules():
        for name, value in own._parameters.items():
            if value is not None:
                own._parameters[name] = nn.Parameter(function(value), requires_grad=False)
        for name, buffer in own._buffers.items():
            own._buffers[name] = None if buffer is None else function(buffer)
    return module


@contextmanager
def shapes_only() -> Iterator[CountingMode]:
    """Let ``cuda:0`` be such a device in this thread; yields the mode that counts."""
    counting = CountingMode()
    capture = GraphCalls._capture

    def named(calls: GraphCalls, into: str, call: Call) -> Any:
        counting.call = call.name
        return capture(calls, into, call)

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        counting.launch(kernel, *args, **options)

    nothing = mock.MagicMock()
    with ExitStack() as stack:
        # Constants of this device have shapes only: none may outlive it.
        for constants in (transforms._normalisation, scene_change._window, scene_change._waves):
            stack.callback(constants.cache_clear)
        # Before ``is_available`` is replaced: without a device it puts an empty guard in its place.
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(
            mock.patch.multiple(
                torch.cuda,
                is_available=lambda: True,
                is_bf16_supported=lambda *_, **__: True,
                get_device_capability=lambda device=None: (9, 0),
                get_device_name=lambda device=None: "a device of shapes only",
                device_count=lambda: 1,
                current_device=lambda: 0,
                CUDAGraph=lambda: _Graph(counting),
                graph=counting.capture,
                **dict.fromkeys(
                    (
                        *("Stream", "Event", "current_stream", "stream", "synchronize"),
                        *("device", "device_of", "graph_pool_handle"),
                    ),
                    nothing,
                ),
            )
        )
        stack.enter_context(mock.patch("tracker.host_arrays.copy_stream", nothing))
        stack.enter_context(mock.patch.object(Tensor, "record_stream", nothing))
        stack.enter_context(mock.patch.object(Tensor, "numpy", _numpy))
        stack.enter_context(mock.patch.object(nn.Module, "_apply", _apply))
        stack.enter_context(mock.patch.object(GraphCalls, "_capture", named))
        stack.enter_context(mock.patch("tracker.engine.graph_calls._RUNS_BEFORE_CAPTURE", 1))
        stack.enter_context(mock.patch("triton.runtime.jit.JITFunction.run", run))
        stack.enter_context(torch.no_grad())  # a gradient's node asks for the device's stream
        stack.enter_context(counting)
        yield counting
