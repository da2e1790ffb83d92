"""Runs a worker's daemon, and ends it once the lease has run out, whatever becomes of the worker.

A process of its own, in the daemon's process group: it lives on where its worker is
killed, stopped, or waits for a network that is gone. Each line on its standard input is the time
until which the daemon may run, in seconds of ``lease_clock_s``, or ``stop``. The end of the input
is the worker's end, and the daemon's too: then nothing else is left that could remove the folder
with the daemon's log, keys and token.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

STOP = "stop"
LOG = "daemon.log"
# Of ``LOG``, and as much of ``daemon.log.1``: what is older is removed.
LOG_BYTES = 8 << 20
_POLL_S = 0.1
_PR_SET_PDEATHSIG = 1


def lease_clock_s() -> float:
    """A monotonic clock that all processes of a machine share, and that counts its sleep too."""
    clock: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # of Linux
    return time.clock_gettime(clock)


def run(folder: Path, until_s: float, command: list[str]) -> int:
    """Run ``command`` until it ends or its time has come; returns its exit code.

    This process's output is ``LOG`` in ``folder``, and the command's too. ``folder`` is removed
    unless the command ends by itself.
    """
    parent = os.getppid()
    daemon = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    os.set_blocking(0, False)
    unread = b""
    while (code := daemon.poll()) is None:
        if lease_clock_s() >= until_s or os.getppid() != parent:
            _end(daemon, folder)
        _bound_log(folder)
        if not select.select([0], [], [], _POLL_S)[0]:
            continue
        content = os.read(0, 65_536)
        if not content:
            _end(daemon, folder)
        *lines, unread = (unread + content).split(b"\n")
        for line in lines:
            if line.decode() == STOP:
                daemon.terminate()
            else:
                until_s = float(line)
    return code


def _end(daemon: subprocess.Popen[bytes], folder: Path) -> None:
    """End the daemon at once, then remove its folder, and end what it started and this process."""
    daemon.kill()
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _bound_log(folder: Path) -> None:
    """Begin the log anew once it is full. Lines written at that moment may be lost."""
    if os.fstat(1).st_size > LOG_BYTES:
        with suppress(OSError):  # a full disk: what is older is lost
            shutil.copyfile(folder / LOG, folder / f"{LOG}.1")
        os.ftruncate(1, 0)


def _die_with_parent() -> None:
    """Should this process be killed alone, the kernel kills the daemon."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Run the guard as a grandchild of its worker: Ray kills a worker's children with it.

    The first argument names the worker, for whoever looks at the list of processes.
    """
    if guard := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1])
    return run(Path(arguments[1]), float(arguments[2]), arguments[3:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
