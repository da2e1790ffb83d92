"""The streams of a worker's daemon: brings them into line with what the manager assigned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamer.client.api_client import ApiError
from streamer.fleet.messages import Assigned, Held, Mode

# A refused stream is not offered to the daemon again until its settings or its token change.
_log = logging.getLogger(__name__)


class Daemon(Protocol):
    """What is asked of a daemon; each method raises ``ApiError``."""

    def prepare(self, stream_id: str, settings: Mapping[str, Any]) -> None: ...
    def take(self, stream_id: str, settings: Mapping[str, Any], token: int) -> None: ...
    def leave(self, stream_id: str) -> None: ...
    def change(self, stream_id: str, settings: Mapping[str, Any]) -> None: ...
    def streams(self) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class HeldStreams:
    """What the daemon has. ``held`` names a stream from before it may be tracked until after.

    Not for an event loop: ``settle`` and ``observe`` wait for the daemon. One caller at a time.
    """

    daemon: Daemon
    held: dict[str, Held] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)

    def learn(
        self, assigned: Mapping[str, Assigned], settings: Mapping[str, dict[str, Any]]
    ) -> None:
        """Take in the settings that came with an assignment."""
        for stream_id, values in settings.items():
            self.settings[stream_id] = values
            self.revisions[stream_id] = assigned[stream_id].revision
        for stream_id in self.settings.keys() - assigned.keys():
            del self.settings[stream_id], self.revisions[stream_id]

    def settle(self, assigned: Mapping[str, Assigned]) -> bool:
        """Do the next thing that the assignment asks for; False when nothing is left to do.

        Streams are ended first: they make room, and others wait for them.
        """
        for stream_id in self.held.keys() - assigned.keys():
            self._end(stream_id)
            return True
        for stream_id, wanted in assigned.items():
            held = self.held.get(stream_id)
            if held is not None and held.refused is not None:
                if (held.token, held.revision) == (wanted.token, wanted.revision):
                    continue
                del self.held[stream_id]
                held = None
            if held is None:
                self._begin(stream_id, wanted)
                return True
            if held.mode is Mode.PREPARE and wanted.mode is Mode.RUN:
                self._run(stream_id, wanted)
                return True
            if held.mode is Mode.RUN and held.token != wanted.token:
                self._end(stream_id)  # it went elsewhere and came back: its state is newer there
                return True
            if held.revision != wanted.revision:
                self._change(stream_id, held, wanted)
                return True
        return False

    def observe(self) -> None:
        """Read from the daemon how many objects each stream has. Raises ``ApiError``."""
        there = {each["id"]: each for each in self.daemon.streams()}
        for stream_id, held in list(self.held.items()):
            found = there.get(stream_id)
            if held.refused is None and held.is_ready and found is None:
                del self.held[stream_id]  # ended by a user of this daemon, or fenced: begin anew
            elif found is not None and len(found["object_ids"]) != held.objects:
                self.held[stream_id] = _with(held, objects=len(found["object_ids"]))

    def _begin(self, stream_id: str, wanted: Assigned) -> None:
        self.held[stream_id] = Held(wanted.token, wanted.revision, Mode.PREPARE)
        try:
            self.daemon.prepare(stream_id, self.settings[stream_id])
        except ApiError as error:
            if error.status == 409:  # a remainder of a request whose answer was lost
                self._end(stream_id)
                return
            self._refused(stream_id, error)
        else:
            self.held[stream_id] = _with(self.held[stream_id], is_ready=True)

    def _run(self, stream_id: str, wanted: Assigned) -> None:
        prepared = self.held[stream_id]
        self.held[stream_id] = Held(wanted.token, wanted.revision, Mode.RUN)
        try:
            self.daemon.take(stream_id, self.settings[stream_id], wanted.token)
        except ApiError as error:
            if error.status == 503:  # the state store is away: nothing is begun without it
                self.held[stream_id] = prepared
                raise
            self._refused(stream_id, error)
        else:
            self.held[stream_id] = _with(self.held[stream_id], is_ready=True)

    def _end(self, stream_id: str) -> None:
        try:
            self.daemon.leave(stream_id)
        except ApiError as error:
            if error.status != 404:
                _log.warning("stream %s cannot be ended: %s", stream_id, error)
                raise
        del self.held[stream_id]

    def _change(self, stream_id: str, held: Held, wanted: Assigned) -> None:
        try:
            self.daemon.change(stream_id, self.settings[stream_id])
        except ApiError as error:
            _log.warning("stream %s keeps its settings: %s", stream_id, error)
        self.held[stream_id] = _with(held, revision=wanted.revision)

    def _refused(self, stream_id: str, error: ApiError) -> None:
        """The daemon did not take it. Without an answer it may have: end it to be sure."""
        held = self.held[stream_id]
        _log.warning("stream %s is refused: %s", stream_id, error)
        self._end(stream_id)
        self.held[stream_id] = _with(held, refused=str(error))


def _with(held: Held, **values: Any) -> Held:
    fields = {name: getattr(held, name) for name in held.__struct_fields__}
    return Held(**{**fields, **values})
