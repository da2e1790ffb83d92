"""A CUDA device that is not there: memory of the host that says it is the device's.

Python's decisions by device go the device's way, values are those of the processor's kernels, and
what CUDA refuses is refused: tensors of host and device in one call, a look at memory of the
device. What the host would wait for is written down, as is every copy between the two. A copy to
the host is made when its event is waited for and not before, so that who reads too early reads
nonsense. What kernels there are on a device, and what they round, is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

READS = {
    *("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__complex__"),
    *("nonzero", "argwhere", "masked_select", "equal", "allclose", "unique", "_unique2"),
}
FORBIDDEN = {"numpy", "__array__", "pin_memory", "__dlpack__"}
INDEXING = {"__getitem__", "__setitem__", "index_put_", "index_put", "index_select"}
# What asks about tensors, and computes nothing.
MAY_MIX = {"__get__", "__set__", "_has_compatible_shallow_copy_type"}


class OnDevice(Tensor):
    """A tensor of the device; alive under a ``PretendedDevice`` only."""

    index: int

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", self.index)

    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), options: Any = None
    ):
        raise AssertionError(f"{function} was called outside of the pretended device")


class Copy(NamedTuple):
    """Between host and device. ``at_once``: the host goes on before it is made."""

    to_device: bool
    at_once: bool
    bytes: int


class PretendedDevice(TorchFunctionMode):
    """``cuda:index``; calls of this thread under it may name it."""

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        self.index = index
        self.waits: list[str] = []
        self.copies: list[Copy] = []
        # Whether a call on the device, outside of graphs, is being made.
        self.computing = False
        # Told of every call on the device: a capture.
        self.recording: Any = None
        # Copies to the host that are not made yet, in order.
        self.under_way: list[Callable[[], None]] = []
        self.finished = 0
        # The current stream; and on which, and as how many-th, memory was last filled or made.
        self.stream: Callable[[], Any] = lambda: None
        self._made_on: dict[int, tuple[Any, int]] = {}
        # Memory that streams other than its own use, which is kept until they have done so.
        self.used_beside: list[int] = []
        self._pinned: dict[int, Tensor] = {}
        self._sources: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ):
        with torch._C.DisableTorchFunctionSubclass():
            return self._call(function, arguments, dict(options or {}))

    def finish(self, most: int | None = None) -> None:
        """Make the copies that are under way, ``most`` of all there ever were; None: all."""
        while self.under_way and (most is None or self.finished < most):
            self.under_way.pop(0)()
            self.finished += 1
        with torch._C.DisableTorchFunction():
            for source, before in self._sources:
                assert torch.equal(source, before), "pinned memory was written to before its copy"
        self._sources.clear()

    def record_stream(self, tensor: Tensor) -> None:
        """``Tensor.record_stream``."""
        with torch._C.DisableTorchFunction():
            self.used_beside.append(_place(tensor))

    def _call(self, function: Any, arguments: tuple, options: dict) -> Any:
        name = getattr(function, "__name__", "")
        given = list(tensors_in((arguments, options)))
        mine = [each for each in given if isinstance(each, OnDevice)]
        target = _target(name, arguments, options)
        if name in {"to", "cpu", "cuda"} and (target is not None or name == "cpu"):
            return self._move(function, arguments, options, target or torch.device("cpu"))
        if name == "pin_memory" and not mine:
            like = arguments[0]  # gaps stay
            pinned = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
            return self._pin(pinned.copy_(like))
        if name == "copy_" and len(mine) == 1:
            return self._copy(arguments[0], arguments[1], _non_blocking(arguments[2:], options))
        if target is not None and target.type == "cuda":
            return self._made(function, arguments, options, target)
        if target is not None and target.type == "meta":
            return function(*arguments, **options)
        if not mine:
            return self._on_host(function, arguments, options)
        if name == "__deepcopy__":
            return self._wrapped(arguments[0].clone())
        assert name not in FORBIDDEN, f"{name} of a tensor of the device"
        if name in READS:
            self._wait(name)
        if name in INDEXING:
            self._look_at_index(name, arguments)
        else:
            self._ensure_together(name, given)
        return self._computed(function, arguments, options)

    def _computed(self, function: Any, arguments: tuple, options: dict) -> Any:
        """A call on the device; written down while a graph is captured."""
        self.computing = self.recording is None
        try:
            result = function(*arguments, **options)
        finally:
            self.computing = False
        if self.recording is None:
            self._begin((arguments, options), result)
        else:
            self.recording.add(function, arguments, options, result)
        return self._wrapped(result)

    def _begin(self, read: Any, made: Any) -> None:
        """Something is begun on the current stream, which must have waited for what it reads."""
        stream = self.stream()
        for each in tensors_in(read):
            other, number = self._made_on.get(_place(each), (stream, 0))
            assert other is stream or stream.seen.get(other, 0) >= number, "read before it is made"
        stream.begun += 1
        for each in tensors_in(made):
            self._made_on[_place(each)] = stream, stream.begun

    def _ensure_together(self, name: str, given: list[Tensor]) -> None:
        """CUDA takes numbers of the host (0 dimensions) beside its own tensors, nothing else."""
        apart = [
            each
            for each in given
            if (not isinstance(each, OnDevice) and each.ndim > 0 and each.device.type != "meta")
            or (isinstance(each, OnDevice) and each.index != self.index)
        ]
        assert not apart or name in MAY_MIX, f"{name}: tensors of host and device"

    def _look_at_index(self, name: str, arguments: tuple) -> None:
        self._ensure_together(
            name, [each for each in (arguments[0], *arguments[2:3]) if isinstance(each, Tensor)]
        )
        places = arguments[1] if isinstance(arguments[1], (tuple, list)) else (arguments[1],)
        for place in places:
            if isinstance(place, OnDevice):
                if place.dtype == torch.bool or place.ndim == 0:
                    self._wait(f"{name} by {place.dtype}")
            elif isinstance(place, (Tensor, list, np.ndarray)):
                self.copies.append(Copy(True, False, 0))

    def _wait(self, what: str) -> None:
        assert self.recording is None, f"{what} while a graph is captured"
        self.waits.append(what)
        self.finish()

    def _on_host(self, function: Any, arguments: tuple, options: dict) -> Any:
        pinned = options.pop("pin_memory", False)
        drawn_by = options.get("generator")
        assert drawn_by is None or drawn_by.device.type == "cpu", "a generator of the device"
        result = function(*arguments, **options)
        made = isinstance(result, Tensor) and result.device.type == "cpu"
        assert not made or self.recording is None, f"{function} on the host, in a capture"
        return self._pin(result) if pinned else result

    def _made(self, function: Any, arguments: tuple, options: dict, target: torch.device) -> Any:
        assert target.index in (None, self.index), f"{target} is not there"
        given = arguments[0] if arguments else None
        if function.__name__ in {"tensor", "as_tensor"} or (
            isinstance(given, Tensor) and not isinstance(given, OnDevice)
        ):
            self._note(Copy(True, False, 0))
        return self._computed(function, arguments, options | {"device": "cpu"})

    def _move(self, function: Any, arguments: tuple, options: dict, target: torch.device) -> Tensor:
        source: Tensor = arguments[0]
        if (target.type == "cuda") == isinstance(source, OnDevice):
            if function.__name__ != "to":
                return source
            here = torch.device("cpu")  # as it is
            arguments = tuple(
                here if isinstance(each, (torch.device, str)) else each for each in arguments
            )
            options |= {"device": here} if "device" in options else {}
            if isinstance(source, OnDevice):
                return self._computed(function, arguments, options)
            return function(*arguments, **options)
        at_once = _non_blocking((), options)
        dtype = next((each for each in arguments[1:] if isinstance(each, torch.dtype)), None)
        dtype = options.get("dtype") or dtype or source.dtype
        if target.type == "cuda":
            return self._sent(source, torch.empty_like(source, dtype=dtype), at_once)
        self._wait(function.__name__)
        self._note(Copy(False, False, source.nbytes))
        return plain(source).to(dtype, copy=True)

    def _sent(self, source: Tensor, into: Tensor, at_once: bool) -> Tensor:
        # Memory with gaps, or of another layout, goes through some that is not pinned.
        in_one = source.stride() == into.stride() and self._is_pinned(source)
        self._note(Copy(True, at_once and (in_one or source.ndim == 0), source.nbytes))
        into.copy_(source)
        self._begin((), into)
        if in_one:
            self._sources.append((source, source.clone()))
        return self._wrapped(into)

    def _copy(self, into: Tensor, source: Tensor, at_once: bool) -> Tensor:
        if isinstance(into, OnDevice):
            return self._sent(source, into, at_once)
        at_once = at_once and self._is_pinned(into)
        self._note(Copy(False, at_once, source.nbytes))
        self._begin(source, ())
        found = plain(source).clone()
        if at_once:
            spoil(into)
            self.under_way.append(lambda: _copied(into, found))
        else:
            self._wait("copy_")
            into.copy_(found)
        return into

    def _note(self, copy: Copy) -> None:
        assert self.recording is None, f"{copy} while a graph is captured"
        self.copies.append(copy)

    def _pin(self, tensor: Tensor) -> Tensor:
        self._pinned[_place(tensor)] = tensor
        return tensor

    def _is_pinned(self, tensor: Tensor) -> bool:
        return _place(tensor) in self._pinned

    def _wrapped(self, result: Any) -> Any:
        if isinstance(result, OnDevice):
            return result
        if isinstance(result, Tensor):
            wrapped = result.as_subclass(OnDevice)
            wrapped.index = self.index
            return wrapped
        if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
            return type(result)([self._wrapped(each) for each in result])
        return result


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Every tensor among arguments, however deep."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for each in values:
            yield from tensors_in(each)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def plain(tensor: Tensor) -> Tensor:
    """The memory as it is, on the host."""
    with torch._C.DisableTorchFunction():
        return tensor.as_subclass(Tensor)


def spoil(tensor: Tensor) -> None:
    """Fill with values that no computation gives."""
    with torch._C.DisableTorchFunction():
        value = float("nan") if tensor.is_floating_point() or tensor.is_complex() else 113
        tensor.fill_(value)


def _copied(into: Tensor, found: Tensor) -> None:
    with torch._C.DisableTorchFunction():
        into.copy_(found)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _non_blocking(arguments: tuple, options: dict) -> bool:
    return bool(options.get("non_blocking", arguments[0] if arguments else False))


def _target(name: str, arguments: tuple, options: dict) -> torch.device | None:
    """Which device a call names."""
    device = options.get("device")
    if device is None and name in {"to", "cuda"}:
        named = [each for each in arguments[1:] if isinstance(each, (torch.device, str, Tensor))]
        device = named[0] if named else ("cuda" if name == "cuda" else None)
    if isinstance(device, Tensor):
        return device.device
    return None if device is None else torch.device(device)
