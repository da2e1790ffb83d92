"""A real RTSP server on loopback, for tests, benchmarks and trying things out.

    python tests/integration/rtsp/server.py --file clip.mp4 --port 8554
    python tests/integration/rtsp/server.py --auth digest --user ann --password secret

serves ``rtsp://127.0.0.1:8554/live``: the clip in an endless loop, or a moving ball. GStreamer's
bindings belong to the system's Python, so the server is a process of its own (``gst_server.py``,
``--help`` lists all options); ``RtspServer`` starts and ends one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("gst_server.py")
# Old reports are dropped: a test reads the last seconds only.
_REPORTS_KEPT = 2000


class Push(NamedTuple):
    """Which picture of the clip was sent, and when (Unix time)."""

    index: int
    time_ns: int


class RtspServer:
    """A running server; ``arguments`` are those of the command line."""

    def __init__(self, *arguments: str, port: int = 0, scheme: str = "rtsp") -> None:
        self._scheme = scheme
        self._ready = threading.Event()
        self.pushes: deque[Push] = deque(maxlen=_REPORTS_KEPT)
        self.port = port
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(_SCRIPT), *arguments, "--port", str(port), "--exit-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="rtsp-server-reader", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        self.wait_until_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def wait_until_ready(self, timeout_s: float = 30.0) -> None:
        """Return when the server listens; ``RuntimeError`` when it ended or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not self._ready.wait(0.02):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("the RTSP server did not start; are the GStreamer packages in?")

    def url(self, userinfo: str = "", path: str = "/live") -> str:
        """The address of the media; ``userinfo`` as in ``name:password``, not yet encoded."""
        if userinfo:
            userinfo = ":".join(quote(part, safe="") for part in userinfo.split(":", 1)) + "@"
        return f"{self._scheme}://{userinfo}127.0.0.1:{self.port}{path}"

    def freeze(self) -> None:
        """Let the server fall silent with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End the server without a farewell to its clients."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        output = self._process.stdout
        if output is None:
            return
        for line in output:
            word, *values = line.split()
            if word == "ready":
                self.port = int(values[0])
                self._ready.set()
            elif word == "push":
                self.pushes.append(Push(int(values[0]), int(values[1])))


if __name__ == "__main__":
    os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, str(_SCRIPT), *sys.argv[1:]])
