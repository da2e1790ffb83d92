"""Tasks that run beside everything else and whose errors nobody would see."""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger(__name__)


def report_failure(task: asyncio.Task[None]) -> None:
    """Say it when such a task ended by a mistake of ours; for ``add_done_callback``."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("%s ended by an error", task.get_name(), exc_info=task.exception())
