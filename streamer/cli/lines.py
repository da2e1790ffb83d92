"""Plain lines of output. Needs only the standard library."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from streamer.runtime.escaping import escaped


def write_line(line: str, output: TextIO | None = None) -> None:
    """Write one line to ``output`` (standard output); text of others in it is escaped."""
    (output or sys.stdout).write(f"{escaped(line)}\n")


def prepare_output() -> None:
    """Let a terminal without Unicode show ``\\xNN`` for what it lacks, and lose closed output."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Lose what is still buffered for standard output: nothing can be written there any more."""
    with suppress(io.UnsupportedOperation):  # output that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
