"""Places of each kind: a folder, and a prefix in a bucket of a real S3 server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.config.state_address import StateAddress
from tests.streamer.s3_server import BUCKET, S3Server, s3_server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["file", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> StateAddress:
    """An empty place that only this test uses."""
    if request.param == "file":
        return StateAddress.parse(f"file://{tmp_path / 'shared'}")
    request.getfixturevalue("s3")
    return StateAddress.parse(f"s3://{BUCKET}/test-{next(_numbers)}")
