"""What arrives from every worker of a fleet, and what a fault did to it.

Subscribes to each worker itself, not through the gateway: a stream that two workers track shows.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamer.client.subscriber import Subscriber
from streamer.fleet.view import FleetView
from streamer.wire.messages import FrameMessage

ARRIVALS_KEPT = 100_000  # of each measurement, the newest
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Arrival:
    """A result: when it arrived (Unix), when its frame was captured, from which worker."""

    stream_id: str
    worker_id: str
    capture_s: float
    arrival_s: float
    object_ids: tuple[int, ...]


class WatchedResults:
    """Reads every worker in a thread of its own, until ``close``."""

    def __init__(self) -> None:
        self._arrivals: deque[Arrival] = deque(maxlen=ARRIVALS_KEPT)
        self._threads: dict[str, threading.Thread] = {}
        self._closing = threading.Event()

    def follow(self, view: FleetView) -> None:
        """Read the workers that were not there before."""
        for worker in view.workers:
            if worker.zeromq is not None and worker.worker_id not in self._threads:
                self.read(worker.worker_id, worker.zeromq)

    def read(self, worker_id: str, endpoint: str) -> None:
        """Read an address, as that of ``worker_id``."""
        thread = threading.Thread(target=self._read, args=(worker_id, endpoint), daemon=True)
        self._threads[worker_id] = thread
        thread.start()

    def arrivals(self) -> list[Arrival]:
        """What arrived up to now."""
        return list(self._arrivals)

    def close(self) -> None:
        """End the threads."""
        self._closing.set()
        for thread in self._threads.values():
            thread.join()

    def _read(self, worker_id: str, endpoint: str) -> None:
        with Subscriber(endpoint, topics=("frame",)) as messages:
            while not self._closing.is_set():
                message = messages.receive(_POLL_S)
                if isinstance(message, FrameMessage):
                    self._arrivals.append(
                        Arrival(
                            message.stream_id,
                            worker_id,
                            message.header.capture_time_ns / 1e9,
                            time.time(),
                            tuple(each.id for each in message.objects),
                        )
                    )


@dataclass(frozen=True, slots=True)
class StreamOutcome:
    """What a fault did to one stream.

    ``up_again_s`` is from the fault to the first result of another worker, None if none came;
    ``gap_s`` from the last result of the former worker to that; ``lost`` the frames between, at the
    camera's rate; ``tracked_twice`` results of the former worker for frames captured after the
    first one of the next; ``same_ids``: its objects have the ids of before.
    """

    stream_id: str
    up_again_s: float | None
    gap_s: float
    lost: int
    tracked_twice: int
    same_ids: bool


def outcome_of(
    arrivals: Sequence[Arrival], stream_id: str, former: str, fault_s: float, rate_hz: float
) -> StreamOutcome:
    """Of a stream that ``former`` had at the time of the fault, as Unix time."""
    of_stream = [each for each in arrivals if each.stream_id == stream_id]
    old = [each for each in of_stream if each.worker_id == former]
    before = [each for each in old if each.arrival_s < fault_s]
    ids = set(before[-1].object_ids) if before else set()
    # Not what a worker of earlier, from which the stream was moved, still sends.
    since_s = max((each.capture_s for each in before), default=0.0)
    new = [
        each
        for each in of_stream
        if each.worker_id != former and each.arrival_s >= fault_s and each.capture_s > since_s
    ]
    if not new:
        return StreamOutcome(stream_id, None, 0.0, 0, 0, False)
    first = min(new, key=lambda each: each.capture_s)
    up_s = min(each.arrival_s for each in new)
    last = [each for each in old if each.capture_s < first.capture_s]
    last_capture_s = max((each.capture_s for each in last), default=fault_s)
    return StreamOutcome(
        stream_id,
        up_s - fault_s,
        max(0.0, up_s - max((each.arrival_s for each in last), default=fault_s)),
        max(0, round((first.capture_s - last_capture_s) * rate_hz) - 1),
        sum(each.capture_s >= first.capture_s for each in old),
        ids <= set(new[-1].object_ids),
    )


def undisturbed(
    arrivals: Sequence[Arrival], stream_id: str, fault_s: float, rate_hz: float
) -> StreamOutcome:
    """Of a stream that need not move: the longest silence since the fault is both times.

    It may move all the same, for another reason.
    """
    of_stream = sorted(
        (each for each in arrivals if each.stream_id == stream_id), key=lambda each: each.arrival_s
    )
    since = [each for each in of_stream if each.arrival_s >= fault_s]
    before = [each for each in of_stream if each.arrival_s < fault_s][-1:]
    if not since:
        return StreamOutcome(stream_id, None, 0.0, 0, 0, False)
    pairs = list(pairwise([*before, *since]))
    silent_s = max((later.arrival_s - one.arrival_s for one, later in pairs), default=0.0)
    missing = [round((later.capture_s - one.capture_s) * rate_hz) - 1 for one, later in pairs]
    ids = set(before[0].object_ids) if before else set()
    now = since[-1].worker_id
    begun_s = min(each.capture_s for each in since if each.worker_id == now)
    return StreamOutcome(
        stream_id,
        silent_s,
        silent_s,
        sum(max(0, each) for each in missing),
        sum(each.worker_id != now and each.capture_s >= begun_s for each in since),
        ids <= set(since[-1].object_ids),
    )


def latencies_s(
    arrivals: Sequence[Arrival], streams: Collection[str], since_s: float, until_s: float
) -> list[float]:
    """From capture to arrival, of the results of ``streams`` that arrived in that time."""
    return [
        each.arrival_s - each.capture_s
        for each in arrivals
        if each.stream_id in streams and since_s <= each.arrival_s < until_s
    ]


def nearest_rank(values: Sequence[float], share: float) -> float | None:
    """The smallest value that ``share`` of all do not exceed; None of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None
