"""Streams that a fleet leases to this daemon: prepared, taken with what was saved, and left."""

from __future__ import annotations

import logging
from contextlib import suppress

from streamer.config.streams import StreamConfig
from streamer.errors import UnknownStreamError
from streamer.streams.state.leased_keeper import LeasedKeeper
from streamer.streams.streams import Streams

_log = logging.getLogger(__name__)


class Leases:
    """Takes streams from other daemons and leaves them to others, through a shared state store.

    A stream that was added before, paused and without objects, has its camera connected when it
    is taken: what lies between the former daemon's last result and the first one here is a read of
    its state.
    """

    def __init__(self, streams: Streams, keeper: LeasedKeeper) -> None:
        self._streams = streams
        self._keeper = keeper

    async def take(self, stream_id: str, wanted: StreamConfig, token: int) -> None:
        """Track a stream as it was left elsewhere, and save it under ``token`` from now on.

        Raises ``StaleTokenError`` and ``BusyError`` if it cannot be had now, ``MaskletError`` for
        settings that do not work here. Nothing is changed then.
        """
        restored = await self._keeper.claim(stream_id, wanted, token)
        try:
            await self._streams.take(stream_id, restored)
        except BaseException:
            self._keeper.give_up(stream_id)
            raise
        self._keeper.hold(stream_id)
        objects = restored.objects.get(stream_id, ())
        _log.info("took %s with %d objects, token %d", stream_id, len(objects), token)

    async def leave(self, stream_id: str) -> None:
        """Save a stream's newest state, end it here, and leave the state to its next holder.

        Raises ``UnknownStreamError``, and ``BusyError`` if the state cannot be saved now: the
        stream continues then.
        """
        self._streams.config(stream_id)
        if self._keeper.holds(stream_id):
            await self._keeper.save_now(stream_id)
        await self.drop(stream_id)

    async def drop(self, stream_id: str) -> None:
        """End a stream here without saving; one that is not here is none."""
        self._keeper.give_up(stream_id)
        with suppress(UnknownStreamError):
            await self._streams.remove(stream_id)
