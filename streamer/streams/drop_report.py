"""Logs dropped frames: one line per stream and minute."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable

from streamer.types import StreamStatus

REPORT_EVERY_S = 60.0
_log = logging.getLogger(__name__)


async def report_drops(statuses: Callable[[], Iterable[StreamStatus]]) -> None:
    """Log until cancelled. Consumers get the same counts with every result and status."""
    before: dict[str, Counter[str]] = {}
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        now = {each.stream_id: Counter(each.frames_dropped) for each in statuses()}
        for stream_id, dropped in now.items():
            news = dropped - before.get(stream_id, Counter())
            if news:
                reasons = ", ".join(f"{reason} {count}" for reason, count in news.items())
                _log.info("%s: frames dropped in %.0f s: %s", stream_id, REPORT_EVERY_S, reasons)
        before = now
