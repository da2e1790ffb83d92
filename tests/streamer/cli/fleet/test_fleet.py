"""``masklet fleet``: what it refuses, and what its table shows. No cluster."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import pytest

from streamer.cli.fleet import actions
from streamer.cli.fleet.actions import emptied
from streamer.cli.fleet.table import table
from streamer.cli.main import main
from streamer.cli.terminal import Terminal
from streamer.errors import FleetError
from streamer.fleet import cluster
from streamer.fleet.gateway import hosted
from streamer.fleet.gateway.hosted import Addresses
from streamer.fleet.remote_fleet import RemoteFleet
from streamer.fleet.view import (
    EventKind,
    FleetEvent,
    FleetView,
    Load,
    Stream,
    StreamState,
    Worker,
    WorkerState,
)


@pytest.fixture(autouse=True)
def without_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")  # put back afterwards


@pytest.mark.parametrize(
    "action",
    [["status"], ["add", "a=synthetic://match"], ["remove", "a"], ["move", "a"], ["down"]],
    ids=lambda words: words[0],
)
def test_without_a_fleet_each_action_says_how_to_begin_one(
    action: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", *action, "--name", "yard"]) == 1
    assert capsys.readouterr().err == (
        "masklet: no fleet yard runs on this machine: start it with `masklet fleet up`, or name "
        "its Ray cluster with --address or RAY_ADDRESS\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nam: x", "nam is not a setting"),
        ("name: A b", "name must be 1 to 32 small letters, digits or '-', got 'A b'"),
        ("lease_s: 0", "lease_s must be between 1 and 600, got 0"),
        ("state: ftp://h/x", "state must be /FOLDER, s3://bucket/PREFIX"),
        ("daemon: {api: {port: 1}}", "daemon.api.port is set by the fleet itself"),
        ("daemon: {streams: {a: {url: 'rtsp://h'}}}", "daemon.streams is set by streams of the"),
        ("daemon: {state_directory: none}", "daemon.state_directory is set by the fleet itself"),
        ("daemon: {model: {name: huge}}", "daemon.model.name must be one of auto"),
        ("streams: {a: {url: 'rtsp://h', password_env: P}}", "streams.a.password_env is not a"),
        ("capacity: {carried: {1: 2, 4: 3}}", "capacity.carried must not grow with the objects"),
        ("worker: {port_minimum: 9}", "worker.port_maximum must be at least port_minimum (9)"),
        ("worker: {host: 0.0.0.0}", "worker.host"),
        ("- a", "must hold settings as `key: value`, not a list"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(content)
    assert main(["fleet", "up", "--config", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_the_table_shows_workers_streams_and_events() -> None:
    view = FleetView(
        "yard",
        1,
        (Worker("w1", "node-1", WorkerState.READY, load=Load(0.5, 1, 3, overloaded=True)),),
        (
            Stream("gate", "rtsp://camera/a", 5, StreamState.MOVING, "w1", "w2"),
            Stream("door", "rtsp://camera/b", 5, StreamState.WAITING, reason="no [room]\x1b"),
        ),
        (FleetEvent(1, 0, EventKind.STREAM_WAITING, "door", reason="no room"),),
        ("node-2",),
    )
    output = io.StringIO()
    Terminal(file=output, width=120).print(table(view))
    shown = output.getvalue()
    for words in ("50% overloaded", "w1 → w2", "no [room]", "draining: node-2", "stream waiting"):
        assert words in shown
    assert "\x1b" not in shown


async def test_a_drain_is_waited_for_and_what_stays_is_named() -> None:
    workers = (
        Worker("w1", "node-10", WorkerState.DRAINING),
        Worker("w2", "node-2", WorkerState.READY),
    )
    streams = tuple(
        Stream(each, "rtsp://h", 5, StreamState.RUNNING, worker_id)
        for each, worker_id in (("a", "w1"), ("b", "w1"), ("c", "w2"))
    )
    full = FleetView("yard", 1, workers, streams, draining=("node-10",))
    fleet = SimpleNamespace(view=AsyncMock(side_effect=[full, replace(full, streams=streams[2:])]))
    await emptied(fleet, "node-1", 60)
    fleet.view.assert_awaited_with(1, 1.0)

    fleet = SimpleNamespace(view=AsyncMock(return_value=full))
    with pytest.raises(FleetError, match="after 0.01 s 2 of the streams are still on node-1: a, b"):
        await emptied(fleet, "node-1", 0.01)

    stuck = replace(streams[1], reason="no room")
    fleet.view.return_value = replace(full, streams=(streams[0], stuck))
    with pytest.raises(FleetError, match="on node-1: a, b; b: no room"):
        await emptied(fleet, "node-1", 0.01)


def test_watch_as_json_is_a_line_for_each_view_and_an_error_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = FleetError("the manager of fleet yard does not answer")
    views = [FleetView("yard", 3), away, away, FleetView("yard", 1), KeyboardInterrupt]
    monkeypatch.setattr(actions, "connect", lambda name, address: None)
    monkeypatch.setattr(actions, "_WATCH_S", 0.0)
    monkeypatch.setattr(RemoteFleet, "view", AsyncMock(side_effect=views))
    addresses = Addresses("http://127.0.0.1:8080", "tcp://127.0.0.1:5555")
    monkeypatch.setattr(hosted, "hosted_addresses", lambda ray, name: addresses)
    assert main(["fleet", "status", "--watch", "--json", "--name", "yard"]) == 0
    printed = capsys.readouterr()
    shown = [json.loads(line) for line in printed.out.splitlines()]
    assert [each["revision"] for each in shown] == [3, 1]
    assert all(each["gateway"]["page"] == addresses.page for each in shown)
    assert printed.err == f"masklet: {away}\n"


def test_a_cluster_that_does_not_answer_is_an_error_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setattr(ray, "init", Mock(side_effect=ConnectionError("refused\nand more")))
    assert main(["fleet", "status", "--address", "127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == (
        "masklet: the Ray cluster at 127.0.0.1:1 does not answer (refused); check --address or "
        "RAY_ADDRESS\n"
    )
    monkeypatch.setattr(cluster._LocalCluster, "address", lambda self: "127.0.0.1:2")
    assert main(["fleet", "status", "--name", "yard"]) == 1
    assert "`masklet fleet down --force --name yard`" in capsys.readouterr().err
