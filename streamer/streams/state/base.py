"""What a keeper needs of a state store, whether a folder of its own or a shared address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from streamer.streams.state.records import StreamRecord
from tracker.memory.object_memory import ObjectMemory

Memories = Mapping[int, ObjectMemory]  # by object id


class Store(Protocol):
    """Saved state. Not for the event loop: every method waits for the disk or the network.

    ``place`` is shown in the log.
    """

    place: str

    def open(self) -> None:
        """Make it ready and keep other daemons out. Raises ``ConfigError``."""
        ...

    def load(self) -> dict[str, StreamRecord]:
        """The saved records; none if there is no readable state."""
        ...

    def memories(self, stream_id: str) -> dict[int, ObjectMemory]:
        """The memories of a loaded stream's objects; empty if none are readable."""
        ...

    def others_beside(self) -> Sequence[str]:
        """Where other daemons keep their state, for the log."""
        ...

    def save(
        self, records: Mapping[str, StreamRecord], memories: Mapping[str, Memories]
    ) -> Sequence[str]:
        """Replace the state by ``records``; ``memories``: of the streams whose objects changed.

        Returns the streams that another daemon has by now, which were not saved. Raises
        ``OSError`` if the store refuses; each stream's previous state is then untouched.
        """
        ...

    def set_aside(self, reason: str) -> str | None:
        """Move the whole state beside it; returns where to, None without a state."""
        ...

    def copy_aside(self) -> None:
        """Keep a copy of the state as last read or written, and log where."""
        ...

    def close(self) -> None:
        """Let other daemons in."""
        ...
