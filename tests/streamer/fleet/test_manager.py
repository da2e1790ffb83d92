"""The manager: a state store that does not answer, callers of another version. No cluster."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from streamer.errors import ConfigError, FleetError
from streamer.fleet import manager
from streamer.fleet.gateway.hosted import HostedGateway
from streamer.fleet.manager import Manager
from streamer.fleet.view import FleetView
from streamer.fleet.worker import Worker

LATER = {"moon": "full"}  # what a later version's message has too
NOTHING = b"{}"
LONG_S = 60.0


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Manager]:
    """Begins managers of a fleet whose state is in ``tmp_path / "state"``, on no node."""
    monkeypatch.setattr(manager, "living_nodes", lambda _: [])
    monkeypatch.setattr(manager, "Orders", Mock())
    monkeypatch.setattr(manager, "_KEPT_S", 0.2)
    monkeypatch.setattr(manager, "_RETRY_STORE_S", 0.1)
    config = {"name": "yard", "state": str(tmp_path / "state")}
    start = {"name": "yard", "namespace": "masklet-yard", "config": config, "generation": "new"}
    return lambda: Manager(json.dumps(start | LATER).encode())


def wanted(stream_id: str) -> bytes:
    return json.dumps({"stream_id": stream_id, "settings": {"url": "synthetic://match"}}).encode()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not holds():
            await asyncio.sleep(0.05)


async def test_every_answer_names_a_store_that_is_away(
    begin: Callable[[], Manager], tmp_path: Path
) -> None:
    record = tmp_path / "state" / ".fleet"
    record.parent.mkdir(mode=0o700)
    record.touch()  # no folder: it cannot be read
    fleet = begin()
    await until(lambda: fleet._trouble is not None)
    with pytest.raises(FleetError, match="once its store answers: the state store file:///.*state"):
        await fleet.view(NOTHING)
    record.unlink()
    await until(lambda: fleet._trouble is None)
    await fleet.add(wanted("gate"))

    record.rename(tmp_path / "away")
    record.touch()
    with pytest.raises(FleetError, match="done once the store answers: the state store"):
        await fleet.add(wanted("door"))
    view = msgspec.json.decode(await fleet.view(NOTHING), type=FleetView)
    assert view.trouble is not None
    record.unlink()
    (tmp_path / "away").rename(record)
    await until(lambda: fleet._trouble is None)
    view = msgspec.json.decode(await fleet.view(NOTHING), type=FleetView)
    assert [each.stream_id for each in view.streams] == ["door", "gate"]
    await fleet.down(NOTHING)


@pytest.mark.parametrize("more", [{}, LATER], ids=["an older version", "a later version"])
async def test_callers_may_be_of_another_version(
    begin: Callable[[], Manager], more: dict[str, Any]
) -> None:
    def message(**fields: Any) -> bytes:
        return json.dumps(fields | more).encode()

    fleet = begin()
    await fleet.add(wanted("gate"))
    await fleet.change(message(stream_id="gate", settings={"priority": 7}))
    assert json.loads(await fleet.settings(message(stream_id="gate")))["priority"] == 7
    with pytest.raises(ConfigError, match="no node 'rack-3'"):
        await fleet.drain(message(node="rack-3"))
    grant = json.loads(await fleet.grant(message(worker_id="w7")))
    assert grant["task"] == "leave"  # it is not of this fleet, and ends
    await fleet.report(message(worker_id="w7"))
    await fleet.remove(message(stream_id="gate"))
    view = msgspec.json.decode(await fleet.view(message(after=0)), type=FleetView)
    assert view.streams == ()
    await fleet.down(message())


@pytest.mark.parametrize("actor", [Manager, Worker, HostedGateway])
def test_every_call_of_an_actor_has_one_message_or_nothing(actor: type) -> None:
    methods = [actor.__init__, *(each for name, each in vars(actor).items() if name[0] != "_")]
    for method in methods:
        if callable(method):
            _, *parameters = inspect.signature(method).parameters.values()
            assert [each.annotation for each in parameters] in ([], ["bytes"]), method
