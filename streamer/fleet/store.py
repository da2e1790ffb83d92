"""Where the manager keeps its record: a fenced file, written under the manager's term."""

from __future__ import annotations

from streamer.config.state_address import StateAddress
from streamer.streams.state.fenced_files import FencedFiles
from streamer.streams.state.places import place_at

_RECORD = ".fleet"  # no stream is named so


class FleetStore:
    """The record of a fleet at a state address, beside the streams that its daemons keep there.

    Every method waits for the store. A manager whose term is over gets ``StaleTokenError``.
    """

    def __init__(self, address: StateAddress) -> None:
        self._address = address
        self.term = 0

    def begin(self) -> bytes | None:
        """Begin a term above all before; the record, None without one.

        Raises ``OSError``, and ``ValueError`` for a record that cannot be read.
        """
        self._files = FencedFiles(place_at(self._address))
        self.term = self._files.token(_RECORD) + 1
        found = self._files.read(_RECORD, bytes)
        return None if found is None else found[1]

    def write(self, content: bytes) -> None:
        """Replace the record. Raises ``StaleTokenError`` and ``OSError``."""
        self._files.write(_RECORD, self.term, content)

    def greatest_token(self) -> int:
        """The largest of any stream here: of a fleet whose record is gone. Raises ``OSError``."""
        return max((self._files.token(name) for name in self._files.names()), default=0)

    def forget_stream(self, stream_id: str, token: int) -> None:
        """Remove what is saved of a stream. Raises ``StaleTokenError`` and ``OSError``."""
        self._files.remove(stream_id, token)
