"""Progress of the tracker's warm-up: a bar in a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streamer.cli.terminal import Terminal

LINE_EVERY_S = 5.0
_log = logging.getLogger(__name__)


class WarmUpReport:
    """Called by one thread with the steps done and the total."""

    def __init__(self, console: Terminal) -> None:
        """``console`` writes where the log goes."""
        self._began_s = time.monotonic()
        self._line_due_s = self._began_s + LINE_EVERY_S
        self._bar: Progress | None = None
        if console.can_redraw:
            self._bar = Progress(
                TextColumn("warming up the model"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("warm-up", total=None)

    def __call__(self, done: int, steps: int) -> None:
        """Show the progress; the last step is always reported."""
        now_s = time.monotonic()
        if self._bar is not None:
            self._bar.start()
            self._bar.update(self._task, completed=done, total=steps)
        if done >= steps:
            self.close()
            _log.info("the model is warm after %.1f s", now_s - self._began_s)
        elif self._bar is None and now_s >= self._line_due_s:
            self._line_due_s = now_s + LINE_EVERY_S
            _log.info("warming up the model: %d of %d steps", done, steps)

    def close(self) -> None:
        """Restore the terminal, also after an unfinished warm-up."""
        if self._bar is not None:
            self._bar.stop()
