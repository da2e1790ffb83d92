"""The ``masklet`` command as a process of its own, for tests that use it as a person would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import eventually, find_free_port


@dataclass
class Masklet:
    """How to call ``masklet``: in which folder, with which command and environment."""

    folder: Path
    command: Sequence[str] = (sys.executable, "-m", "streamer.cli.main")
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        """Run to the end; what it printed and its exit code."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextmanager
    def daemon(self, *arguments: str) -> Iterator[Daemon]:
        """``masklet run`` with listeners of its own, until the end of the block."""
        port = find_free_port()
        control = f"ipc://{self.folder}/control.sock"
        log_file = self.folder / f"daemon-{port}.log"
        log = log_file.open("w")
        process = subprocess.Popen(
            [
                *self.command,
                "run",
                f"zeromq.endpoint=tcp://127.0.0.1:{port}",
                f"control.endpoint={control}",
                "metrics.port=0",
                "api.port=0",
                "api.port=0",
                "model.threads=1",
                "model.engine.openvino=off",  # its export takes seconds for each set of weights
                *arguments,
            ],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield Daemon(process, f"tcp://127.0.0.1:{port}", control, log_file)
        finally:
            process.kill()
            process.wait()
            log.close()

    def answers(self, daemon: Daemon) -> None:
        """Wait until the daemon is ready: its model is warm and everything listens."""

        def listening() -> bool:
            assert daemon.process.poll() is None, daemon.log_file.read_text()
            if not Path(daemon.control.removeprefix("ipc://")).exists():
                return False
            return self("ctl", "--control", daemon.control, "health").returncode == 0

        eventually(listening, timeout_s=90, what="the daemon to answer")

    def _environment(self) -> dict[str, str]:
        return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | self.environment


@dataclass
class Daemon:
    """A running daemon and where it is reached."""

    process: subprocess.Popen[bytes]
    endpoint: str
    control: str
    log_file: Path

    def ended(self) -> tuple[int, str]:
        """Its exit code and log, once it has ended by itself."""
        return self.process.wait(timeout=20), self.log_file.read_text()

    def terminate(self) -> None:
        """Ask it to end as systemd does."""
        self.process.send_signal(signal.SIGTERM)
