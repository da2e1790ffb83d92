"""Which worker has which stream: a pure function of what is wanted and of the room there is.

Placed streams stay where they are. The others are placed in the order of their priorities, each on
the worker with the most room left. Where none has room, streams of lower priorities make it on one
worker, and are placed anew after it. Overloaded workers come last, and only for streams that would
be tracked nowhere. What fits nowhere waits, with the reason.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PRIORITIES = 10
_ROUNDING = 1e-9  # of sums of shares


@dataclass(frozen=True, slots=True)
class Demand:
    """A stream that is wanted. ``shares`` are those of a worker it takes, by kind of machine.

    ``worker_id`` has it now. ``avoid`` is not given it: the worker that gives it away.
    ``can_stay``: it is tracked there until it fits elsewhere, so an overloaded worker is not given
    it.
    """

    stream_id: str
    priority: int
    objects: int
    shares: Mapping[str, float]
    worker_id: str | None = None
    avoid: str | None = None
    can_stay: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """A worker: ``is_open`` says whether it takes streams, ``is_overloaded`` whether as the last.

    ``limit`` is the largest sum of shares; one stream alone may take all of a worker.
    """

    worker_id: str
    kind: str
    limit: float
    maximum_streams: int
    maximum_objects: int
    is_open: bool = True
    is_overloaded: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """What is to change: the new workers of streams, and those without one, with the reason.

    ``made_room`` are placed streams that lose their worker to a higher priority; each is also in
    one of the two.
    """

    placed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    made_room: dict[str, str] = field(default_factory=dict)


def place(demands: Sequence[Demand], rooms: Sequence[Room]) -> Placement:
    """Place every demand without a worker among ``rooms``.

    A demand whose worker is not among them counts as without one. Same input, same result: ties
    go to the first worker of the list, and of equal priorities the largest stream goes first.
    """
    return _Solver(rooms, demands).solve()


class _Solver:
    """Arrays over workers (W) and priorities (P); ``used_PW``: by streams of that priority on."""

    def __init__(self, rooms: Sequence[Room], demands: Sequence[Demand]) -> None:
        self._rooms = rooms
        self._demands = demands
        self._index = {room.worker_id: index for index, room in enumerate(rooms)}
        kinds = sorted({room.kind for room in rooms})
        self._kinds = kinds
        self._kind_W = np.array([kinds.index(room.kind) for room in rooms], dtype=np.intp)
        self._limit_W = np.array([room.limit for room in rooms])
        self._streams_W = np.array([room.maximum_streams for room in rooms], dtype=np.int64)
        self._objects_W = np.array([room.maximum_objects for room in rooms], dtype=np.int64)
        self._open_W = np.array([room.is_open for room in rooms], dtype=np.bool_)
        calm_W = np.array([not room.is_overloaded for room in rooms], dtype=np.bool_)
        self._calm_W = self._open_W & calm_W
        shape = (PRIORITIES, len(rooms))
        self._used_PW = np.zeros(shape)
        self._used_streams_PW = np.zeros(shape, dtype=np.int64)
        self._used_objects_PW = np.zeros(shape, dtype=np.int64)
        self._on: list[dict[str, Demand]] = [{} for _ in rooms]
        self._queue: list[tuple[int, float, str, Demand]] = []
        self._result = Placement()

    def solve(self) -> Placement:
        for demand in self._demands:
            if demand.worker_id in self._index:
                self._occupy(self._index[demand.worker_id], demand, 1)
            else:
                self._enqueue(demand)
        while self._queue:
            demand = heapq.heappop(self._queue)[-1]
            share_W = self._share_on(demand)
            index = self._found(demand, share_W)
            if index is None:
                self._result.waiting[demand.stream_id] = self._reason(demand, share_W)
            else:
                self._occupy(index, demand, 1)
                self._result.placed[demand.stream_id] = self._rooms[index].worker_id
        return self._result

    def _enqueue(self, demand: Demand) -> None:
        largest = max(demand.shares.values(), default=0.0)
        heapq.heappush(self._queue, (-demand.priority, -largest, demand.stream_id, demand))

    def _share_on(self, demand: Demand) -> npt.NDArray[np.float64]:
        by_kind = np.array([demand.shares.get(kind, np.inf) for kind in self._kinds])
        return by_kind[self._kind_W] if len(self._rooms) else np.zeros(0)

    def _found(self, demand: Demand, share_W: npt.NDArray[np.float64]) -> int | None:
        """The worker for a demand, on which there is room now."""
        for among_W in (self._calm_W,) if demand.can_stay else (self._calm_W, self._open_W):
            index = self._most_room(demand, share_W, 0, among_W)
            if index is None and demand.priority > 0:
                index = self._most_room(demand, share_W, demand.priority, among_W)
                if index is not None:
                    self._make_room(index, demand, share_W)
            if index is not None:
                return index
        return None

    def _most_room(
        self,
        demand: Demand,
        share_W: npt.NDArray[np.float64],
        priority: int,
        among_W: npt.NDArray[np.bool_],
    ) -> int | None:
        """The worker with the most room left, if only streams of ``priority`` on count."""
        if not len(self._rooms):
            return None
        fits_W = among_W & self._fits(demand, share_W, priority, slice(None))
        if demand.avoid in self._index:
            fits_W[self._index[demand.avoid]] = False
        if not fits_W.any():
            return None
        left_W = self._limit_W - self._used_PW[priority] - share_W
        return int(np.argmax(np.where(fits_W, left_W, -np.inf)))

    def _fits(
        self,
        demand: Demand,
        share_W: npt.NDArray[np.float64],
        priority: int,
        at: int | slice,
    ) -> npt.NDArray[np.bool_]:
        """Whether a demand fits on workers ``at``, if only streams of ``priority`` on count."""
        streams, share = self._used_streams_PW[priority, at], share_W[at]
        limit = np.where(streams == 0, np.maximum(self._limit_W[at], 1.0), self._limit_W[at])
        fits: npt.NDArray[np.bool_] = (
            (self._used_PW[priority, at] + share <= limit + _ROUNDING)
            & (streams < self._streams_W[at])
            & (self._used_objects_PW[priority, at] + demand.objects <= self._objects_W[at])
        )
        return fits

    def _make_room(self, index: int, demand: Demand, share_W: npt.NDArray[np.float64]) -> None:
        """End the least important streams of a worker until ``demand`` fits."""
        for other in sorted(
            self._on[index].values(), key=lambda each: (each.priority, each.stream_id)
        ):
            if self._fits(demand, share_W, 0, index):
                return
            self._occupy(index, other, -1)
            self._result.placed.pop(other.stream_id, None)
            self._result.made_room[other.stream_id] = demand.stream_id
            self._enqueue(other)

    def _occupy(self, index: int, demand: Demand, sign: int) -> None:
        share = demand.shares.get(self._rooms[index].kind, 0.0)
        below = slice(0, demand.priority + 1)
        self._used_PW[below, index] += sign * share
        self._used_streams_PW[below, index] += sign
        self._used_objects_PW[below, index] += sign * demand.objects
        if sign > 0:
            self._on[index][demand.stream_id] = demand
        else:
            del self._on[index][demand.stream_id]

    def _reason(self, demand: Demand, share_W: npt.NDArray[np.float64]) -> str:
        open_W = self._open_W
        if demand.can_stay:
            open_W = self._calm_W.copy()
            if demand.avoid in self._index:
                open_W[self._index[demand.avoid]] = False
            if not open_W.any():
                return (
                    "no other worker takes streams, or they report overload; add a machine, or "
                    "move it to one by name"
                )
        if not open_W.any():
            return "no worker is ready"
        if not (open_W & (share_W <= 1 + _ROUNDING) & (demand.objects <= self._objects_W)).any():
            smallest = float(share_W[open_W].min())
            takes = (
                f"take {smallest:.2f} of one" if np.isfinite(smallest) else "are too many for it"
            )
            return (
                f"no worker carries it even alone within the latency objective: {demand.objects} "
                f"objects {takes}; lower max_rate_hz, or raise capacity.objective_p99_ms"
            )
        needed = float(share_W[open_W].min())
        left_W = np.where(open_W, self._limit_W - self._used_PW[0], -np.inf)
        return (
            f"no room: it takes {needed:.2f} of a worker, and the emptiest has "
            f"{max(0.0, float(left_W.max())):.2f} left; add a machine"
        )
