"""Plain lines of output. Needs only the standard library."""

from __future__ import annotations

import io
import sys
from typing import TextIO

from streamer.runtime.escaping import escaped


def write_line(line: str, output: TextIO | None = None) -> None:
    """Write one line to ``output`` (standard output); text of others in it is escaped."""
    (output or sys.stdout).write(f"{escaped(line)}\n")


def show_every_character() -> None:
    """Let a terminal without Unicode show ``\\xNN`` for what it lacks, in place of an error."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
