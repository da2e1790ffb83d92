"""A file descriptor held in reserve: a socket of libzmq's can be examined when none is left."""

from __future__ import annotations

import os
import socket as sockets
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SpareDescriptor:
    """Lends itself to one socket at a time. ``dup2`` onto a number we own needs no new one."""

    def __init__(self) -> None:
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._spare = os.dup(self._nothing)

    @contextmanager
    def handle(self, descriptor: int) -> Iterator[sockets.socket | None]:
        """A handle of the TCP connection with this descriptor, which stays its while it is held.

        None for anything else, and on systems other than Linux.
        """
        handle: sockets.socket | None = None
        try:
            if sys.platform == "linux":
                os.dup2(descriptor, self._spare, inheritable=False)
                handle = sockets.socket(fileno=self._spare)
        except OSError:  # closed meanwhile, or not a socket
            handle = None
        try:
            is_tcp = handle is not None and handle.family in (sockets.AF_INET, sockets.AF_INET6)
            yield handle if is_tcp else None
        finally:
            if handle is not None:
                handle.detach()
            os.dup2(self._nothing, self._spare, inheritable=False)

    def close(self) -> None:
        """Give both descriptors back."""
        os.close(self._spare)
        os.close(self._nothing)
