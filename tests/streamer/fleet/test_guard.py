"""The guard ends a daemon with its lease, and whatever becomes of its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.fleet.guard import LOG, LOG_BYTES, lease_clock_s
from streamer.fleet.proof import prove_dead

LONG_S = 60.0
# Prints its number, and holds its output open until it ends.
DAEMON = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a daemon, with a secret in it."""
    (tmp_path / "w1" / "keys").mkdir(parents=True)
    (tmp_path / "w1" / "keys" / "token").write_text("secret")
    return tmp_path / "w1"


@pytest.fixture
def guarded(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A guarded daemon whose lease lasts long."""
    process = begin(folder, DAEMON, subprocess.PIPE)
    yield process
    process.kill()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    process.wait(LONG_S)


def begin(folder: Path, program: str, output: Any) -> subprocess.Popen[bytes]:
    until = str(lease_clock_s() + 600)
    guard = [sys.executable, "-P", "-m", "streamer.fleet.guard", "w1", str(folder), until]
    return subprocess.Popen(
        [*guard, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=output,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        start_new_session=True,
    )


def daemon_of(guard: subprocess.Popen[bytes]) -> int:
    assert guard.stdout is not None
    return int(guard.stdout.readline())


def wait_for_end(guard: subprocess.Popen[bytes]) -> None:
    """Until the daemon, which has the pipe open, has ended."""
    assert guard.stdout is not None
    assert guard.stdout.read() == b""


def say(guard: subprocess.Popen[bytes], line: str) -> None:
    assert guard.stdin is not None
    guard.stdin.write(f"{line}\n".encode())
    guard.stdin.flush()


@pytest.mark.parametrize("end", ["lease", "worker", "stop", "killed"])
def test_daemon_ends(guarded: subprocess.Popen[bytes], folder: Path, end: str) -> None:
    daemon_of(guarded)
    match end:
        case "lease":
            say(guarded, f"{lease_clock_s() - 1}")
        case "worker":
            assert guarded.stdin is not None
            guarded.stdin.close()
        case "stop":
            say(guarded, "stop")
        case "killed":
            os.kill(guarded.pid, signal.SIGKILL)
    wait_for_end(guarded)
    code = guarded.wait(LONG_S)
    assert code == (-signal.SIGTERM % 256 if end == "stop" else -signal.SIGKILL)
    # With a worker that lives, the folder is its to read and remove.
    assert folder.exists() == (end == "stop")


def test_a_renewed_lease_lasts(guarded: subprocess.Popen[bytes]) -> None:
    process = daemon_of(guarded)
    for _ in range(3):
        say(guarded, f"{lease_clock_s() + 600}")
    os.kill(process, 0)
    assert guarded.poll() is None


def test_what_is_left_of_a_group_is_killed_and_proved_dead(
    guarded: subprocess.Popen[bytes],
) -> None:
    process = daemon_of(guarded)
    os.kill(guarded.pid, signal.SIGSTOP)  # a guard that does nothing any more
    assert prove_dead(guarded.pid, "w2")  # the group has no member of that name
    os.kill(process, 0)
    assert prove_dead(guarded.pid, "w1")
    assert guarded.wait(LONG_S) == -signal.SIGKILL
    wait_for_end(guarded)


def test_log_is_bounded(folder: Path) -> None:
    size = LOG_BYTES // 4
    program = f"""
import os, sys
for number in range(18):
    os.write(1, b"%d" % number + b"." * {size})
    while os.fstat(1).st_size > {LOG_BYTES}:
        pass
"""
    with (folder / LOG).open("ab") as log:
        process = begin(folder, program, log)
    assert process.wait(LONG_S) == 0
    assert process.stdin is not None
    process.stdin.close()
    newest, before = folder / LOG, folder / f"{LOG}.1"
    assert newest.read_bytes().startswith(b"16.")
    assert before.read_bytes().startswith(b"12.")
    assert before.stat().st_size <= LOG_BYTES + size + 100
