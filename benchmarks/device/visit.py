"""A visit to a device: runs the parts one after the other, each in a process of its own.

A part that fails or exceeds its limit does not stop the others. Whatever happens, what was measured
is on disk, and the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.device.parts import Part
from benchmarks.device.record import Record

Command = Callable[[Part], Sequence[str]]


class Visit:
    """Runs parts with ``budget_s`` for all of them; ``after_each`` writes the report."""

    def __init__(
        self,
        out: Path,
        command: Command,
        budget_s: float,
        after_each: Callable[[], None],
        patience: float = 1.0,
    ) -> None:
        """``patience``: times the limit of each part."""
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        self._command = command
        self._end_s = time.monotonic() + budget_s
        self._patience = patience
        self._after_each = after_each
        self._progress = Record(out / "progress.jsonl")
        self._running: list[_Running] = []

    def run(self, parts: Sequence[Part]) -> bool:
        """Run what is not complete yet; whether everything is now."""
        try:
            for part in parts:
                self._begin(part)
                if not part.alongside:  # and so nothing runs beside the part after this one
                    while self._running:
                        self._end(self._running.pop())
        finally:
            for running in self._running:
                running.kill()
        return all(self._is_complete(part) for part in parts)

    def _is_complete(self, part: Part) -> bool:
        return self._progress.results.get(part.name, {}).get("rc") == 0

    def _left_s(self) -> float:
        return self._end_s - time.monotonic()

    def _begin(self, part: Part) -> None:
        if self._is_complete(part):
            return
        if self._left_s() <= 0:
            self._progress.add(part.name, rc=None, why="no time was left")
            return
        command = self._command(part)
        limit_s = min(part.limit_s * self._patience, self._left_s())
        self._running.append(_Running(part, command, self._out, limit_s))

    def _end(self, running: _Running) -> None:
        rc = running.wait()
        why = {} if rc is not None else {"why": f"ended after its {running.limit_s:.0f} s"}
        self._progress.add(running.part.name, rc=rc, seconds=running.seconds, **why)
        self._after_each()


class _Running:
    """A part's process group; its output goes into a log beside its results."""

    def __init__(self, part: Part, command: Sequence[str], out: Path, limit_s: float) -> None:
        self.part = part
        self.limit_s = limit_s
        self.seconds = 0.0
        self._began_s = time.monotonic()
        with (out / f"{part.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> int | None:
        """Its exit status; None if it was ended at its limit."""
        left_s = self._began_s + self.limit_s - time.monotonic()
        try:
            return self._process.wait(max(left_s, 0.0))
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()
            self.seconds = round(time.monotonic() - self._began_s, 1)

    def kill(self) -> None:
        """End what is left of it, children included."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
