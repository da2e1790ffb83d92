"""Ends the connections of clients whose key was taken off the allow-list."""

from __future__ import annotations

import logging
import socket as sockets
import time

from streamer.runtime.curve_keys import AllowList
from streamer.sinks.zeromq.connections import (
    Connection,
    Connections,
)

# The folder is looked at so often while anybody is connected.
LOOK_INTERVAL_S = 1.0
_log = logging.getLogger(__name__)


class RevokedKeys:
    """Judges the connections of one bound socket that speaks CURVE.

    A key counts as removed when two looks did not find it: a file or a folder that is being
    replaced ends nobody. Bound: the keys that were missing on the last look.
    """

    def __init__(self, connections: Connections, allowed: AllowList) -> None:
        self._connections = connections
        self._allowed = allowed
        self._looked_monotonic_s = -LOOK_INTERVAL_S
        self._revoked: frozenset[bytes] = frozenset()
        self._missing: frozenset[bytes] = frozenset()

    def look(self, keys: frozenset[bytes]) -> None:
        """Find out which keys of connected clients are not on the list any more."""
        now_s = time.monotonic()
        if not keys or now_s - self._looked_monotonic_s < LOOK_INTERVAL_S:
            return
        self._looked_monotonic_s = now_s
        missing = self._allowed.missing(keys)
        self._revoked = missing & self._missing
        self._missing = missing

    def check(self, connection: Connection, handle: sockets.socket) -> None:
        """End the connection if its key was removed."""
        if connection.key in self._revoked:
            self._connections.end(connection, handle)
            _log.warning(
                "a client was disconnected: its key is not on the allow-list any more "
                "(public key %s)",
                (connection.key or b"").decode(errors="replace"),
            )
