"""CUDA graphs of the device that is not there: what was called once is called again.

As on a device: nothing is run while it is captured, results lie where they lay when it was, and
what graphs of one pool compute, each other replay may overwrite: it is spoilt here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.tracker.pretended.tensors import plain, spoil, tensors_in


class Recording:
    """The calls of one capture, and the memory that they made."""

    pools: dict[int, list[Recording]] = {}  # noqa: RUF012  # of the process, as the device's are

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple, dict, list[Tensor]]] = []
        self.made: dict[int, Tensor] = {}

    @classmethod
    def new_pool(cls) -> int:
        """``torch.cuda.graph_pool_handle``."""
        number = len(cls.pools)
        cls.pools[number] = []
        return number

    def add(self, function: Any, arguments: tuple, options: dict, result: Any) -> None:
        """A call was made; its result exists only for its shape."""
        name = getattr(function, "__name__", "")
        before = {_place(each) for each in tensors_in((arguments, options))}
        found = [each for each in tensors_in(result) if isinstance(each, Tensor)]
        new = [plain(each) for each in found if _place(each) not in before]
        # Rows are written on purpose: to tables and to the bank.
        writes = name.endswith("_") and (not name.startswith("__") or name.startswith("__i"))
        if writes and name not in {"requires_grad_", "__index__", "__invert__"}:
            assert _place(arguments[0]) in self.made, f"{name} writes to what is not the graph's"
        for each in new:
            self.made[_place(each)] = each
        kept = tuple(plain(each) if isinstance(each, Tensor) else each for each in arguments)
        self.calls.append((function, kept, options, [plain(each) for each in found]))

    def run(self) -> None:
        """Make the calls again; what they find lies where it lay."""
        for function, arguments, options, found in self.calls:
            with torch._C.DisableTorchFunction():
                again = tensors_in(function(*arguments, **options))
                for old, new in zip(found, again, strict=True):
                    if _place(old) != _place(new):
                        old.copy_(new)

    def spoil(self) -> None:
        """Others have used the memory."""
        for tensor in self.made.values():
            spoil(tensor)


class Graph:
    """``torch.cuda.CUDAGraph``."""

    replays = 0  # of all graphs

    def begin(self, pool: int) -> None:
        self.recording = Recording()
        self._pool = Recording.pools[pool]

    def end(self) -> None:
        assert self.recording.calls, "the graph is empty"
        self._pool.append(self.recording)
        self.recording.spoil()

    def replay(self) -> None:
        for other in self._pool:
            other.spoil()
        self.recording.run()
        Graph.replays += 1


def _place(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage().data_ptr()
