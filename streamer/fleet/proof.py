"""Makes sure that nothing of a dead worker's process group runs any more on this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_PROC = Path("/proc")
_WAIT_S = 5.0
_POLL_S = 0.05


def prove_dead(process_group: int, worker_id: str) -> bool:
    """Kill what is left of the group of a worker's daemon; whether all of it has ended.

    A group of another program that has the number by now is let alone: members must name the
    worker in their command line. False where that cannot be known.
    """
    if not _PROC.is_dir():
        return False
    deadline_s = time.monotonic() + _WAIT_S
    while members := _members(process_group, worker_id):
        if time.monotonic() > deadline_s:
            return False
        for process in members:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_POLL_S)
    return True


def _members(process_group: int, worker_id: str) -> list[int]:
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # After the name in parentheses: state, parent, group.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        is_zombie = fields[0] in "ZX"
        named = f"masklet-{worker_id}-".encode() in command or worker_id.encode() in command.split(
            b"\0"
        )
        if int(fields[2]) == process_group and named and not is_zombie:
            found.append(int(entry.name))
    return found
