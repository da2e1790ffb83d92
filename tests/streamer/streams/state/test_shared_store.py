"""A daemon's state at an address that others can reach, in a folder and on an S3 server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamer.config.messages import WrongSettingError
from streamer.config.schema import MaskletConfig
from streamer.config.state_address import StateAddress, is_address
from streamer.errors import ConfigError
from streamer.streams.state.fenced_files import StaleTokenError
from streamer.streams.state.records import ObjectRecord, StreamRecord
from streamer.streams.state.shared_store import SharedStore
from tests.streamer.fakes import object_memory
from tests.streamer.s3_server import BUCKET, S3Server

GATE = StreamRecord("configured", objects=[ObjectRecord(1, "Tür", "#0088ff"), ObjectRecord(2)])
YARD = StreamRecord("added", {"url": "rtsp://camera/2"})


def opened(address: StateAddress) -> SharedStore:
    store = SharedStore(address)
    store.open()
    return store


def test_daemon_alone_finds_its_state_on_another_machine(address: StateAddress) -> None:
    first = opened(address)
    assert first.load() == {}
    memories = {1: object_memory(1), 2: object_memory(2)}
    assert first.save({"gate": GATE, "yard": YARD}, {"gate": memories}) == []
    second = opened(address)
    assert second.load() == {"gate": GATE, "yard": YARD}
    read = second.memories("gate")
    assert list(read) == [1, 2]
    np.testing.assert_array_equal(read[2].spatial_FLc, memories[2].spatial_FLc)
    assert read[2].spatial_FLc.flags.writeable
    assert second.memories("yard") == {}


def test_settings_change_without_the_objects_and_removed_streams_go(address: StateAddress) -> None:
    store = opened(address)
    store.save({"gate": GATE, "yard": YARD}, {"gate": {1: object_memory(1)}})
    slower = StreamRecord("configured", {"max_rate_hz": 5.0}, objects=GATE.objects)
    store.save({"gate": slower}, {})
    again = opened(address)
    assert again.load() == {"gate": slower}
    assert list(again.memories("gate")) == [1]


def test_later_daemon_has_the_streams_and_the_earlier_one_saves_no_more(
    address: StateAddress, caplog: pytest.LogCaptureFixture
) -> None:
    first = opened(address)
    first.save({"gate": GATE}, {})
    second = opened(address)
    second.load()
    assert second.save({"gate": GATE}, {"gate": {1: object_memory(1)}}) == []
    assert first.save({"gate": YARD}, {}) == ["gate"]
    assert first.save({"gate": YARD}, {}) == []
    assert caplog.text.count("not saved any more") == 1
    assert opened(address).load() == {"gate": GATE}


def test_stream_goes_from_worker_to_worker_with_its_objects(address: StateAddress) -> None:
    one, other = opened(address), opened(address)
    assert one.claim("gate", 1) is None
    one.save({"gate": GATE}, {"gate": {1: object_memory(1)}})
    saved = other.claim("gate", 2)
    assert saved is not None
    assert saved[0] == GATE
    assert list(saved[1]) == [1]
    # Until the next holder writes, what a former one writes is harmless; afterwards it is refused.
    other.save({"gate": GATE}, {"gate": saved[1]})
    assert one.save({"gate": YARD}, {}) == ["gate"]
    with pytest.raises(StaleTokenError) as refused:
        one.claim("gate", 1)
    assert refused.value.newest == 2
    other.give_up("gate")
    assert other.save({}, {}) == []
    back = one.claim("gate", 3)
    assert back is not None
    assert back[0] == GATE


def test_fresh_start_moves_the_state_where_it_can_be_used_again(address: StateAddress) -> None:
    opened(address).save({"gate": GATE}, {"gate": {1: object_memory(1)}})
    store = opened(address)
    where = store.set_aside("fresh")
    assert where is not None
    assert store.load() == {}
    assert store.set_aside("fresh") is None
    aside = opened(StateAddress.parse(where))
    assert aside.load() == {"gate": GATE}
    assert list(aside.memories("gate")) == [1]


def test_state_that_is_not_of_this_version_is_a_warning(
    address: StateAddress, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(address)
    for content in (b"", b"{}", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 99):
        store._files.write("gate", 1, content)
        store._files.write("gate", 1, content)
        assert opened(address).load() == {}
        assert "the saved state of stream gate is not used" in caplog.text
        caplog.clear()


@pytest.fixture
def stopped(s3: S3Server) -> Iterator[S3Server]:
    s3.stop()
    yield s3
    s3.start()


def test_server_that_does_not_answer_refuses_the_start(stopped: S3Server) -> None:
    with pytest.raises(ConfigError, match="state_directory: s3://.* cannot be written"):
        opened(StateAddress.parse(f"s3://{BUCKET}/away"))


def test_server_that_comes_back_has_everything(s3: S3Server) -> None:
    store = opened(StateAddress.parse(f"s3://{BUCKET}/away"))
    store.save({"gate": GATE}, {})
    s3.stop()
    try:
        with pytest.raises(OSError, match="Could not connect"):
            store.save({"gate": YARD}, {})
        with pytest.raises(ConfigError, match="the state cannot be read from s3://"):
            store.load()
    finally:
        s3.start()
    assert store.load() == {"gate": GATE}
    store.save({"gate": YARD}, {})
    assert opened(StateAddress.parse(f"s3://{BUCKET}/away")).load() == {"gate": YARD}


def test_bucket_that_is_not_there_refuses_the_start(s3: S3Server) -> None:
    with pytest.raises(ConfigError, match="s3://no-such cannot be written .*bucket"):
        opened(StateAddress.parse("s3://no-such"))


def test_scheme_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(ConfigError, match="az:// needs a package .*pip install 'adlfs'"):
        opened(StateAddress.parse("az://container/state"))


GOOD = {
    "file:///mnt/state/": "file:///mnt/state",
    "S3://bucket": "s3://bucket",
    "s3a://my.bucket/a/b=c/": "s3://my.bucket/a/b=c",
    "gcs://bucket/x": "gs://bucket/x",
    "abfs://container/x": "az://container/x",
}
BAD = {
    "sftp://host/x": "must be file:///FOLDER, s3://BUCKET/PREFIX, .* got sftp://…",
    "s3:/bucket/x": "must be file:///FOLDER",
    "s3:bucket": "must be file:///FOLDER",
    "file://mnt/state": "must name a folder, file:///FOLDER, got 'file://mnt/state'",
    "s3://": "must name a bucket, s3://BUCKET/PREFIX",
    "s3://key:hunter2@bucket/x": "must be an address without credentials",
    "sftp://key:hunter2@host/x": "must be file:///FOLDER",
    "s3://bucket//x": "must have a prefix of letters, .* got '' in",
    "s3://bucket/../x": "must have a prefix of letters, .* got '..' in",
    "s3://bucket/x?versionId=1": "must have a prefix of letters",
    "s3://bücket/x": "must name a bucket",
}


@pytest.mark.parametrize("text", GOOD)
def test_address_is_read_at_the_door(text: str) -> None:
    assert MaskletConfig(state_directory=text).state_directory == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_address_that_cannot_be_is_refused_without_its_password(text: str) -> None:
    assert is_address(text)
    with pytest.raises(WrongSettingError, match=BAD[text]) as refused:
        StateAddress.parse(text)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError, match=f"state_directory {BAD[text]}"):
        MaskletConfig.read({"state_directory": text})


def test_only_a_bucket_needs_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    opened(StateAddress.parse(f"file://{tmp_path}/shared"))
    with pytest.raises(ConfigError, match=r"needs a package .*pip install 'masklet\[fleet\]'"):
        opened(StateAddress.parse("s3://bucket/state"))
