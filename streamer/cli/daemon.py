"""The daemon as a process, from the loading of torch on: signals, exit codes, errors."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable

from streamer.app import INFERENCE_THREAD, App
from streamer.cli import exit_codes
from streamer.cli.automatic_model import with_automatic_model
from streamer.cli.startup import STOP_SIGNALS
from streamer.cli.terminal import Terminal
from streamer.cli.warm_up_report import WarmUpReport
from streamer.config.schema import MaskletConfig
from streamer.errors import MaskletError
from streamer.inference.build import with_model_threads
from streamer.runtime.descriptors import raise_descriptor_limit
from streamer.sources import make_source
from streamer.starters.stream_starter import STARTER_THREAD_PREFIX
from streamer.streams.stream import SOURCE_THREAD_PREFIX
from tracker import TrackerError

_MAY_BE_LEFT = (SOURCE_THREAD_PREFIX, INFERENCE_THREAD, STARTER_THREAD_PREFIX)
_log = logging.getLogger(__name__)


def run_daemon(config: MaskletConfig, *, fresh: bool = False, leased: bool = False) -> int:
    """Run until SIGINT or SIGTERM; the exit code: 0 stopped, 1 failed, 2 could not start.

    ``fresh`` sets the saved state of earlier runs aside. ``leased``: as for ``App``.
    """
    raise_descriptor_limit()
    report = WarmUpReport(Terminal(file=sys.stderr))
    try:
        for stream_id, stream in config.streams.items():
            make_source(stream_id, stream)  # checks the settings; opens nothing
        config = with_model_threads(with_automatic_model(config, fresh=fresh))
        app = App(config, fresh=fresh, leased=leased, warm_up_progress=_warm_up_progress(report))
    except (MaskletError, TrackerError) as error:
        _log.error("%s", error)
        return exit_codes.REFUSED
    try:
        code = asyncio.run(_run_until_signalled(app))
    except ExceptionGroup as errors:
        code = _report(errors)
    finally:
        report.close()
    gc.unfreeze()  # Triton's bindings report uncollected objects as leaks, on stderr
    if any(thread.name.startswith(_MAY_BE_LEFT) for thread in threading.enumerate()):
        # A thread blocked in a camera's read or in a detector would wake up during the
        # interpreter's shutdown, inside FFmpeg or torch, and could crash the process.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


def _warm_up_progress(report: WarmUpReport) -> Callable[[int, int], None]:
    def progress(done: int, steps: int) -> None:
        report(done, steps)
        if done >= steps:
            # The 355,000 objects of torch and others live to the end. A full collection that
            # visits them stops every thread for 0.6 s on two busy cores; without them it is
            # negligible.
            gc.collect()
            gc.freeze()

    return progress


async def _run_until_signalled(app: App) -> int:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for name in STOP_SIGNALS:
            loop.remove_signal_handler(name)  # a second signal ends the process at once
        app.request_stop()

    for name in STOP_SIGNALS:
        loop.add_signal_handler(name, stop)
    return await app.run()


def _report(errors: ExceptionGroup[Exception]) -> int:
    """Log why the daemon ended: a line for an operator's error, a traceback for a bug."""
    known, unknown = errors.split((MaskletError, TrackerError))
    if unknown is not None:
        _log.critical("the daemon failed", exc_info=unknown)
        return exit_codes.FAILED
    assert known is not None, "a group holds at least one error"
    for error in known.exceptions:
        _log.error("%s", error)
    return exit_codes.REFUSED
