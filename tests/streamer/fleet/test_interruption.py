"""A process that starts nodes of Ray ends when it is asked to, whatever Ray waits for."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTED = 130
LONG_S = 150.0
BLOCK = """
import ctypes, pathlib, signal, sys, time
from streamer.fleet import interruption

def in_c():  # as where Ray's C++ waits: Python calls no handler meanwhile
    wait = b"while kill -0 $PPID; do sleep 0.1; done"
    ctypes.CDLL(None).system(b"echo begun; exec >/dev/null 2>&1; " + wait)

def in_python():
    print("begun", flush=True)
    time.sleep(3600)

def with_handler_of_ray():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    in_python()

folder = pathlib.Path(sys.argv[1])
folder.mkdir()
interruption.END_S = float(sys.argv[3])
try:
    with interruption.interruptible(folder):
        {"c": in_c, "python": in_python, "ray": with_handler_of_ray}[sys.argv[2]]()
except KeyboardInterrupt:
    print("in order")
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("sent", "where", "end_s", "said"),
    [
        (signal.SIGINT, "python", 100.0, "in order"),
        (signal.SIGTERM, "python", 100.0, "in order"),
        (signal.SIGTERM, "ray", 100.0, "in order"),
        (signal.SIGTERM, "c", 0.1, ""),
    ],
)
def test_the_process_ends_in_order_or_at_once(
    tmp_path: Path, sent: signal.Signals, where: str, end_s: float, said: str
) -> None:
    folder = tmp_path / "fleet"
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCK, str(folder), where, str(end_s)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(sent)
    assert process.communicate(timeout=LONG_S)[0].strip() == said
    assert process.returncode == INTERRUPTED
    assert folder.exists() == (said == "in order")


def test_what_was_there_is_there_again(tmp_path: Path) -> None:
    script = (
        "import signal, pathlib\n"
        "from streamer.fleet.interruption import interruptible\n"
        "with interruptible(pathlib.Path('none')):\n    pass\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert signal.set_wakeup_fd(-1) == -1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
