"""Streams that publishers begin: how many, and when they end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from streamer.api.webrtc.begun_streams import KEPT_FOR_CONTROL, BegunStreams
from streamer.config.streams import StreamConfig
from streamer.errors import BusyError, StreamExistsError, UnknownStreamError
from streamer.runtime.shares import Shares
from tests.streamer.fakes import FakeClock

END_AFTER_S = 300.0


class Rig:
    """Streams in a dict, their publishers in a set."""

    def __init__(self, *, limit: int = 4, maximum: int = 64) -> None:
        self.running: dict[str, StreamConfig] = {}
        self.publishing: set[str] = set()
        self.kept: list[str] = []
        self.is_busy = False
        self.clock = FakeClock()
        self.begun = BegunStreams(
            self,
            maximum_streams=maximum,
            shares=Shares(limit, ("phone", "gate"), "streams that publishers began"),
            has_publisher=self.publishing.__contains__,
            end_after_s=END_AFTER_S,
            on_kept=self.kept.append,
            clock=self.clock,
        )

    def configs(self) -> Mapping[str, StreamConfig]:
        return self.running

    async def add_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)  # other publishers come meanwhile
        if stream_id in self.running:
            raise StreamExistsError(stream_id)
        self.running[stream_id] = StreamConfig.read(settings, stream_id)

    async def remove(self, stream_id: str) -> None:
        if stream_id not in self.running:
            raise UnknownStreamError(stream_id)
        if self.is_busy:
            raise BusyError("too many commands wait")
        del self.running[stream_id]

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.begun.end_left()


async def test_stream_ends_some_time_after_its_publisher() -> None:
    rig = Rig()
    await rig.begun.begin("street", "phone")
    rig.publishing.add("street")
    await rig.wait(2 * END_AFTER_S)
    assert "street" in rig.running
    rig.publishing.clear()
    await rig.wait(END_AFTER_S - 1)
    assert "street" in rig.begun
    await rig.wait(1)
    assert "street" not in rig.running
    assert "street" not in rig.begun


async def test_stream_whose_publisher_never_came_ends_too() -> None:
    rig = Rig()
    await rig.begun.begin("street", "phone")
    await rig.wait(END_AFTER_S)
    assert not rig.running


async def test_stream_that_cannot_end_now_ends_later() -> None:
    rig = Rig(limit=1)
    await rig.begun.begin("street", "elsewhere")
    rig.is_busy = True
    await rig.wait(END_AFTER_S)
    assert "street" in rig.begun
    rig.is_busy = False
    await rig.wait(1)
    assert not rig.running
    await rig.begun.begin("street", "elsewhere")


async def test_publisher_that_returns_begins_the_time_anew() -> None:
    rig = Rig()
    await rig.begun.begin("street", "phone")
    await rig.wait(END_AFTER_S - 1)
    rig.publishing.add("street")
    await rig.wait(2)
    rig.publishing.clear()
    await rig.wait(END_AFTER_S - 1)
    assert "street" in rig.running


async def test_stream_that_control_changed_stays() -> None:
    rig = Rig()
    await rig.begun.begin("street", "phone")
    rig.begun.keep("street")
    rig.begun.keep("street")
    assert rig.kept == ["street"]  # it is saved from now on
    assert "street" not in rig.begun
    await rig.wait(10 * END_AFTER_S)
    assert "street" in rig.running


async def test_token_has_a_share_and_others_keep_theirs() -> None:
    rig = Rig(limit=4)
    for number in range(3):
        await rig.begun.begin(f"junk{number}", "phone")
    with pytest.raises(BusyError, match="phone has 3 of 4 streams that publishers began"):
        await rig.begun.begin("junk3", "phone")
    await rig.begun.begin("gate", "gate")
    assert set(rig.running) == {"junk0", "junk1", "junk2", "gate"}
    await rig.wait(END_AFTER_S)
    await rig.begun.begin("junk3", "phone")  # its places are free again
    with pytest.raises(StreamExistsError):
        await rig.begun.begin("junk3", "phone")


async def test_removed_or_kept_streams_free_their_place() -> None:
    rig = Rig(limit=1)
    await rig.begun.begin("one", "elsewhere")
    rig.begun.keep("one")
    await rig.begun.begin("two", "elsewhere")
    await rig.remove("two")  # by `control`, which also reports it
    rig.begun.keep("two")
    await rig.begun.begin("three", "elsewhere")
    del rig.running["three"]
    await rig.wait(END_AFTER_S)
    await rig.begun.begin("four", "elsewhere")


async def test_some_slots_are_left_to_control() -> None:
    rig = Rig(limit=64, maximum=KEPT_FOR_CONTROL + 2)
    for name in ("configured", "added"):
        await rig.add_from(name, {"url": "synthetic://match"})
    with pytest.raises(BusyError, match="the rest is kept for `control`"):
        await rig.begun.begin("junk", "phone")


async def test_publishers_that_come_at_once_leave_slots_to_control() -> None:
    rig = Rig(limit=16, maximum=KEPT_FOR_CONTROL + 2)
    begun = (rig.begun.begin(f"street-{number}", "phone") for number in range(8))
    refused = await asyncio.gather(*begun, return_exceptions=True)
    assert len(rig.running) == 2
    assert sum(isinstance(each, BusyError) for each in refused) == 6
