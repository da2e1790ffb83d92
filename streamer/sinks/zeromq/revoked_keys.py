"""Ends the connections of clients whose key was taken off the allow-list."""

from __future__ import annotations

import logging
import time

from streamer.runtime.curve_keys import AllowList
from streamer.sinks.zeromq.connections import Connection

# How often the folder is read while clients are connected.
READ_INTERVAL_S = 1.0
_log = logging.getLogger(__name__)


class RevokedKeys:
    """Judges the connections of one bound socket that speaks CURVE.

    A key counts as removed when it was missing twice in a row: a file or folder that is being
    replaced disconnects no client. Bound: the keys missing at the last check.
    """

    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed
        self._read_monotonic_s = -READ_INTERVAL_S
        self._revoked: frozenset[bytes] = frozenset()
        self._missing: frozenset[bytes] = frozenset()

    def update(self, keys: frozenset[bytes]) -> None:
        """Read which keys of connected clients are no longer on the list."""
        now_s = time.monotonic()
        if not keys or now_s - self._read_monotonic_s < READ_INTERVAL_S:
            return
        self._read_monotonic_s = now_s
        missing = self._allowed.missing(keys)
        self._revoked = missing & self._missing
        self._missing = missing

    def holds(self, connection: Connection) -> bool:
        """Whether the connection is to be ended: its key was removed."""
        if connection.key not in self._revoked:
            return False
        _log.warning(
            "a client was disconnected: its key is no longer on the allow-list (public key %s)",
            (connection.key or b"").decode(errors="replace"),
        )
        return True
