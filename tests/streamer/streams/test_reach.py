"""Only an address that the daemon's user gave is trusted to lead anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamer.config.network import ApiConfig
from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.errors import SourceError, UnknownStreamError
from streamer.streams.reach import within_rules
from tests.integration.rtsp.dialogue_server import DialogueServer, Request
from tests.streamer.sources.recorder import RunningSource


def ordinary(_: Request) -> None:
    return None


@contextmanager
def redirecting_servers() -> Iterator[tuple[DialogueServer, DialogueServer]]:
    """One that redirects to another, which plays."""
    with DialogueServer(ordinary, address="127.0.0.2") as other:
        moved = f"302 Moved\r\nLocation: {other.url}"
        with DialogueServer(lambda _: moved) as server:
            yield server, other


@pytest.mark.parametrize(
    ("given_by", "hosts", "plays"),
    [
        ("file", [], True),
        ("user", [], True),
        ("api", ["127.0.0.1"], False),
        ("api", ["127.0.0.0/8"], True),
        ("api, over one of the file", ["127.0.0.1"], False),
        ("nobody yet", ["127.0.0.1"], False),
    ],
)
def test_redirects_of_the_apis_streams_stay_within_the_rules(
    given_by: str, hosts: list[str], plays: bool
) -> None:
    def owner_set(stream_id: str) -> frozenset[str]:
        if given_by == "nobody yet":
            raise UnknownStreamError(stream_id)
        return frozenset({"url"} if given_by == "user" else ())

    with redirecting_servers() as (server, other):
        stream = StreamConfig(url=server.url, open_timeout_s=5)  # type: ignore[arg-type]
        in_file = {"file": stream, "api, over one of the file": stream.changed(url=other.url)}
        configured = {"gate": in_file[given_by]} if given_by in in_file else {}
        config = MaskletConfig(streams=configured, api=ApiConfig(url_hosts=hosts))
        with RunningSource(within_rules(config, owner_set)("gate", stream)) as source:
            if plays:
                source.wait_for_frames(2)
                return
            error = source.wait_for_end()
        assert isinstance(error, SourceError)
        assert "which is not among api.url_hosts" in str(error)
        assert not other.requests
