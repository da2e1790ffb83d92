"""Work beside the event loop: named threads it can wait for, and tasks nothing waits for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


def start_thread(name: str, target: Callable[[], None]) -> asyncio.Future[None]:
    """Run ``target`` in a daemon thread called ``name``; the future gets its end or its error.

    A daemon thread, because one that is blocked in a camera's read must not hold up the end of
    the process. The running loop may end before the thread does; its outcome is dropped then.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            target()
        except BaseException as raised:
            error = raised  # handed to the future: nothing is swallowed
        try:
            loop.call_soon_threadsafe(settle, error)
        except RuntimeError:
            return  # the loop is closed, and the future with it

    threading.Thread(target=run, name=name, daemon=True).start()
    return ended


def report_failure(task: asyncio.Task[None]) -> None:
    """Log the error that ended a task nothing waits for; for ``add_done_callback``."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("%s ended by an error", task.get_name(), exc_info=task.exception())
