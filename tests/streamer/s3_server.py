"""A real S3 server on loopback: moto's, with its data in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from tests.conftest import find_free_port

BUCKET = "masklet-tests"


class S3Server:
    """Can be stopped and started again with what it holds; ``environment`` is that of a client."""

    def __init__(self) -> None:
        self._port = find_free_port()
        self.environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
        }
        self.start()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty ``BUCKET``; the environment of this process leads to it."""
    server = S3Server()
    before = dict(os.environ)
    os.environ.update(server.environment)
    try:
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(BUCKET)
        yield server
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
