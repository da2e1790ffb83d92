"""Bounds the publisher's connections, in all and per client: each costs a file descriptor."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from streamer.sinks.zeromq.connections import Connection, Connections

REPORT_INTERVAL_S = 10.0
_log = logging.getLogger(__name__)


class ConnectionLimit:
    """Says which connections are too many.

    Policy: first those that have not subscribed to anything, the oldest of them first; then the
    newest. Who only holds connections open cannot keep a consumer out, nor end one that is served.
    """

    def __init__(self, connections: Connections, maximum: int, maximum_per_address: int) -> None:
        self._connections = connections
        self._maximum = maximum
        self._maximum_per_address = maximum_per_address
        self._ended = 0
        self._reported_monotonic_s = -REPORT_INTERVAL_S

    def surplus(self) -> list[Connection]:
        """The connections to be ended now."""
        by_address: defaultdict[str, list[Connection]] = defaultdict(list)
        for connection in self._connections:
            by_address[connection.address].append(connection)
        surplus: list[Connection] = []
        for address, group in by_address.items():
            too_many = _first_to_go(group, len(group) - self._maximum_per_address)
            if too_many:
                self._report("max_connections_per_address", f" from {address}", len(too_many))
                surplus += too_many
        ended = set(surplus)
        rest = [each for each in self._connections if each not in ended]
        too_many = _first_to_go(rest, len(rest) - self._maximum)
        if too_many:
            self._report("max_connections", "", len(too_many))
        return surplus + too_many

    def _report(self, setting: str, whose: str, count: int) -> None:
        self._ended += count
        now_s = time.monotonic()
        if now_s - self._reported_monotonic_s >= REPORT_INTERVAL_S:
            _log.warning(
                "more connections%s than zeromq.%s allows: %d ended since the last report",
                whose,
                setting,
                self._ended,
            )
            self._ended = 0
            self._reported_monotonic_s = now_s


def _first_to_go(connections: Sequence[Connection], count: int) -> list[Connection]:
    silent = [each for each in connections if not each.message_bytes]
    serving = [each for each in connections if each.message_bytes]
    return (silent + serving[::-1])[: max(0, count)]
