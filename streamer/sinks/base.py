"""What a sink is: something that takes what the daemon publishes, at its own pace."""

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
    Between the live path and that task stands a bounded queue (``fanout.py``), so that a
    sink may take its time: it loses its own oldest frames and delays nobody.
    """

    @property
    def name(self) -> str:
        """A short fixed name, the ``sink`` label of metrics."""

    async def start(self) -> None:
        """Bind or open. Raises ``MaskletError`` when that is impossible; the daemon ends."""

    def wants(self, item: Published) -> bool:
        """Whether anybody would receive ``item``; cheap. What nobody wants is not encoded."""

    async def publish(self, item: Published) -> None:
        """Encode and send. A ``MaskletError`` or ``OSError`` loses this item only."""

    async def close(self) -> None:
        """Say goodbye, drain and release everything, within a bounded time."""


async def close_sink(sink: Sink, timeout_s: float) -> None:
    """Close a sink; one that fails or takes longer is left, which the log tells."""
    try:
        async with asyncio.timeout(timeout_s):
            await sink.close()
    except TimeoutError:
        _log.warning("sink %s did not close within %.1f s", sink.name, timeout_s)
    except (MaskletError, OSError) as error:
        _log.warning("sink %s did not close: %s", sink.name, error)
