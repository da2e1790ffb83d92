"""Counts what a step launches on the pretended device: graphs, and everything beside them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from tests.tracker.pretended.graphs import Graph
from tests.tracker.pretended.tensors import PretendedDevice

# What makes or describes tensors, and starts no kernel.
_SILENT = {
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("detach", "alias", "_unsafe_view", "_reshape_alias", "lift_fresh", "is_pinned", "set_"),
}


class Launches(TorchDispatchMode):
    """Kernels and copies within the device's memory by name, outside of graphs; and replays.

    A call that writes nothing of its own, such as a view, launches nothing. Copies between host
    and device are in ``PretendedDevice.copies``.
    """

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()
        self._device = device
        self.names: Counter[str] = Counter()
        self._replays = Graph.replays

    @property
    def outside(self) -> int:
        """All launches outside of graphs."""
        return sum(self.names.values())

    @property
    def replays(self) -> int:
        return Graph.replays - self._replays

    def clear(self) -> None:
        self.names.clear()
        self._replays = Graph.replays

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        views = any(each.alias_info and not each.alias_info.is_write for each in _returns(function))
        if self._device.computing and not views and name not in _SILENT:
            self.names[name] += 1
        return function(*arguments, **(options or {}))


def _returns(function: Any) -> Any:
    return function._schema.returns
