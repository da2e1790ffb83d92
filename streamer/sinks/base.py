"""The protocol of a sink: it takes what the daemon publishes, at its own pace."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from streamer.errors import MaskletError
from streamer.types import Published

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """One way out of the daemon.

    Every method is called on the event loop, ``publish`` by the sink's own task and in order.
    A bounded queue (``fanout.py``) decouples it from the live path: a slow sink loses its own
    oldest frames and delays nothing else.
    """

    @property
    def name(self) -> str:
        """A short fixed name, the ``sink`` label of metrics."""

    async def start(self) -> None:
        """Bind or open. Raises ``MaskletError`` when that is impossible; the daemon ends."""

    def wants(self, item: Published) -> bool:
        """Whether ``item`` has a receiver; cheap. Items without one are not encoded."""

    async def publish(self, item: Published) -> None:
        """Encode and send. A ``MaskletError`` or ``OSError`` loses this item only."""

    async def close(self) -> None:
        """Send a last message, drain and release everything, within a bounded time."""


async def close_sink(sink: Sink, timeout_s: float) -> None:
    """Close a sink; log it and go on if it fails or takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            await sink.close()
    except TimeoutError:
        _log.warning("sink %s did not close within %.1f s", sink.name, timeout_s)
    except (MaskletError, OSError) as error:
        _log.warning("sink %s did not close: %s", sink.name, error)
