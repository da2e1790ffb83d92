"""A program under a guard: a worker's daemon, or the measurement of its machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from streamer.fleet.guard import LOG, STOP, lease_clock_s

_LAST_LINES = 3


class GuardedProcess:
    """A ``masklet`` command in a process group of its own, with its guard.

    Its output is a log in ``folder``, which its guard bounds, and removes when it ends the command.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder

    @classmethod
    def begin(cls, worker_id: str, folder: Path, until_s: float, arguments: Sequence[str]) -> Self:
        """Start ``masklet`` with ``arguments``; it may run until a time of ``lease_clock_s``."""
        guard = [sys.executable, "-P", "-m", "streamer.fleet.guard"]
        masklet = [sys.executable, "-P", "-m", "streamer.cli.main", *arguments]
        # Another Python finds the same modules: Ray adds to this process's path.
        path = os.pathsep.join(each for each in sys.path if each)
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [*guard, worker_id, str(folder), str(until_s), *masklet],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        return cls(process, folder)

    @property
    def process_group(self) -> int:
        """The id of the group that everything of the program is in."""
        return self._process.pid

    def may_run_until(self, until_s: float) -> None:
        """Extend the lease, to a time of ``lease_clock_s``."""
        self._send(f"{until_s:.3f}")

    def stop(self) -> None:
        """Let it shut down in order."""
        self._send(STOP)

    def kill(self) -> None:
        """End everything of it at once."""
        self._send(f"{lease_clock_s():.3f}")

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait()

    def last_words(self) -> str:
        """The end of its log, for an error."""
        try:
            text = (self._folder / LOG).read_bytes()[-4096:].decode("utf-8", "replace")
        except OSError:
            return ""
        return " | ".join(text.strip().splitlines()[-_LAST_LINES:])

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it has ended, which ``wait`` reports
