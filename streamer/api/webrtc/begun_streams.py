"""The streams that publishers began: they end by themselves, and are not saved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from streamer.config.streams import StreamConfig
from streamer.errors import BusyError, ControlError, UnknownStreamError
from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.runtime.shares import Shares
from streamer.sources.whip import WHIP_URL

CHECK_INTERVAL_S = 1.0
# Slots that publishers leave to ``control``.
KEPT_FOR_CONTROL = 8
_log = logging.getLogger(__name__)


class Streams(Protocol):
    """The daemon's streams, as far as they are needed here."""

    def configs(self) -> Mapping[str, StreamConfig]:
        """The settings of every stream, by id."""

    async def add_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Begin another stream."""

    async def remove(self, stream_id: str) -> None:
        """End a stream."""


@dataclass(slots=True)
class _Begun:
    place: ExitStack
    published_monotonic_ns: int


class BegunStreams:
    """Begins streams for publishers; each ends ``end_after_s`` after its publisher left.

    ``keep`` makes one an ordinary stream. Bounds: ``shares`` of the tokens, and
    ``KEPT_FOR_CONTROL`` of ``maximum_streams`` stay free.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        maximum_streams: int,
        shares: Shares,
        has_publisher: Callable[[str], bool],
        end_after_s: float,
        on_kept: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._streams = streams
        self._most = max(1, maximum_streams - KEPT_FOR_CONTROL)
        self._shares = shares
        self._has_publisher = has_publisher
        self._end_after_s = end_after_s
        self._on_kept = on_kept
        self._clock = clock
        self._begun: dict[str, _Begun] = {}

    def __contains__(self, stream_id: str) -> bool:
        return stream_id in self._begun

    async def begin(self, stream_id: str, publisher: str) -> None:
        """Begin a stream for the token ``publisher``. Raises ``MaskletError``."""
        beginning = len(self._shares) - len(self._begun)
        if len(self._streams.configs()) + beginning >= self._most:
            raise BusyError(
                f"{self._most} streams run already, and the rest is kept for `control`; publish "
                "to a stream that exists, or remove one"
            )
        with ExitStack() as place:
            place.enter_context(self._shares.hold(publisher))
            await self._streams.add_from(stream_id, {"url": WHIP_URL})
            self._begun[stream_id] = _Begun(place.pop_all(), self._clock.monotonic_ns())

    def keep(self, stream_id: str) -> None:
        """Let a stream stay: ``control`` changed it. Also forgets one that was removed."""
        if (begun := self._begun.pop(stream_id, None)) is not None:
            begun.place.close()
            self._on_kept(stream_id)

    async def run(self) -> None:
        """End what has no publisher for too long, until cancelled."""
        while True:
            await self.end_left()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def end_left(self) -> None:
        """End the streams whose publisher left ``end_after_s`` ago."""
        for stream_id, begun in tuple(self._begun.items()):
            if self._has_publisher(stream_id):
                begun.published_monotonic_ns = self._clock.monotonic_ns()
            elif self._left_s(begun) >= self._end_after_s and stream_id in self._begun:
                _log.info(
                    "%s ends: its publisher left %.0f s ago (webrtc.end_created_after_s)",
                    stream_id,
                    self._end_after_s,
                )
                try:
                    await self._streams.remove(stream_id)
                except UnknownStreamError:
                    pass  # `control` removed it
                except ControlError as error:  # too much waits for the tracker: the next time
                    _log.warning("%s: cannot end yet: %s", stream_id, error)
                    continue
                self._begun.pop(stream_id, begun).place.close()

    def _left_s(self, begun: _Begun) -> float:
        return ns_to_seconds(self._clock.monotonic_ns() - begun.published_monotonic_ns)
