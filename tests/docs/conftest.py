"""A daemon with the documents' streams, at addresses of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import find_free_port
from tests.masklet_process import Masklet
from tests.streamer.recorded.made import video

SCENE = "synthetic://match?width=320&height=180&rate_hz=10&duration_s=10"
# The documents' cameras, frames and addresses, and what stands in for them here.
STREAMS = ("gate", "cam1")
FRAMES = ("815", "816")
RESULTS, API = "tcp://127.0.0.1:5555", "127.0.0.1:8080"


@dataclass
class Served:
    """A daemon with the documents' streams, and the folder that its user works in."""

    results: str
    api: str
    socket: str
    folder: Path

    def localised(self, text: str) -> str:
        """``text`` with the addresses of this daemon, and frames that it is about to track."""
        stream = httpx.get(f"http://{self.api}/v1/streams/gate").json()
        for ahead, frame in enumerate(FRAMES, 10):
            text = text.replace(frame, str(stream["frames_decoded"] + ahead))
        return text.replace(RESULTS, self.results).replace(API, self.api)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("documents")
    masklet = Masklet(folder)
    keys = masklet("keys", "KEYS", "--client", "laptop")
    assert keys.returncode == 0, keys.stderr
    for name in ("server.key", "laptop.key_secret"):
        (folder / name).write_bytes((folder / "KEYS" / name).read_bytes())
    video(folder / "match.mp4", 4)
    port = find_free_port()
    streams = [f"--stream={name}={SCENE}" for name in STREAMS]
    objects = [f"streams.{name}.objects=[{{id:1,box:[20,40,90,150]}}]" for name in STREAMS]
    loops = [f"streams.{name}.loop=true" for name in STREAMS]
    with masklet.daemon(
        "tracking=few",
        "starter=boxes",
        "state_directory=none",
        f"api.port={port}",
        *loops,
        *objects,
        *streams,
    ) as daemon:
        masklet.answers(daemon)
        yield Served(
            daemon.endpoint, f"127.0.0.1:{port}", daemon.control.removeprefix("ipc://"), folder
        )
